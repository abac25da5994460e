"""What an engine over the archive is: days of Parquet in, the sums of their hours by location out.

PostgreSQL lands and publishes them, so the union's promise does not depend on the engine. The aggregation itself is
sql/batch/aggregate_observations.sql for all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import Manifest

SCHEMA = pa.schema(
    [
        pa.field("hour_start", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("location", pa.string(), nullable=False),
        pa.field("date", pa.date32(), nullable=False),
        pa.field("data_points_count", pa.int32(), nullable=False),
        pa.field("aqi_sum", pa.int64(), nullable=False),
        pa.field("aqi_count", pa.int32(), nullable=False),
        pa.field("min_aqi", pa.int32()),
        pa.field("max_aqi", pa.int32()),
        pa.field("traffic_sum", pa.int64(), nullable=False),
        pa.field("traffic_count", pa.int32(), nullable=False),
        pa.field("min_traffic", pa.int16()),
        pa.field("max_traffic", pa.int16()),
        pa.field("speed_sum_m_h", pa.int64(), nullable=False),
        pa.field("speed_count", pa.int32(), nullable=False),
        pa.field("min_speed", pa.float64()),
        pa.field("max_speed", pa.float64()),
        pa.field("ratio_sum_ppb", pa.int64(), nullable=False),
        pa.field("ratio_count", pa.int32(), nullable=False),
        pa.field("min_ratio", pa.float64()),
        pa.field("max_ratio", pa.float64()),
    ]
)
"""Of every batch that an engine gives: the columns of aggregate_observations.sql, in its order."""
READ = (
    "location", "hour_start", "city_date", "aqi_value", "traffic_level", "current_speed", "congestion_ratio",
)  # fmt: skip
"""The columns of the archive that the aggregation reads."""


class ArchiveEngine(Protocol):
    """Aggregates days of the archive. One thread at a time uses it."""

    @property
    def name(self) -> str:
        """As `published_hours.engine` has it."""
        ...

    def describe(self) -> Mapping[str, str]:
        """What it is and where it runs, for the metadata of a run: version, memory, machine."""
        ...

    def aggregate(
        self, archive: Archive, manifests: Sequence[Manifest], hours: Sequence[datetime]
    ) -> Iterator[pa.RecordBatch]:
        """The sums of these hours (their starts, UTC) in these days' files, in batches of `SCHEMA`, in any order; by
        hour and location is landed soonest.

        A row per hour and location, and no other hour's, though a day's file holds more. What is read is what the
        manifests say, to the last byte: raises ArchiveDamagedError, with the day noted as damaged, before or while
        batches are handed over; ArchiveUnavailableError; EngineError where the engine itself fails.
        """
        ...

    def close(self) -> None:
        """End what runs for it and remove its temporary files."""
        ...
