"""A long history and its archive, made fast: PostgreSQL fills and archives one day, Arrow repeats it.

Every day's file is a real one, with its manifest and what `raw_hours` counts of it; where PostgreSQL is to be measured
too, the rows themselves are in `raw_data` as well.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from benchmarks.batch.history import PER_HOUR, fill_history
from benchmarks.log import say
from benchmarks.servers import Database
from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import Manifest, note_leftover, replace_manifest
from lambda_pipeline.archive.schema import COLUMNS, SCHEMA, described
from lambda_pipeline.archive.write import ROW_GROUP, day_writer
from lambda_pipeline.batch.publish import HourToPublish, hours_to_publish
from lambda_pipeline.storage.engine import transaction

FIRST_DAY = date(2025, 6, 8)
START = datetime(2025, 6, 7, 17, tzinfo=UTC)  # its midnight in the city
_SHIFTED = ("timestamp", "hour_start", "created_at")


@dataclass
class History:
    """An archive of so many days, and the rows of each."""

    database: Database
    engine: sa.Engine
    archive: Archive
    locations: int
    days: int = 0

    @property
    def rows_a_day(self) -> int:
        """Rows of each day."""
        return 24 * PER_HOUR * self.locations

    def hours(self, days: int) -> list[HourToPublish]:
        """The stale hours of the first days."""
        return hours_to_publish(self.engine, FIRST_DAY, FIRST_DAY + timedelta(days=days))


def fill(history: History, days: int) -> None:
    """Rows in `raw_data` and their archive, written by the product."""
    fill_history(history.database, START, days * 24)
    for number in range(days):
        assert history.archive.write(FIRST_DAY + timedelta(days=number), "benchmark") is not None
        say(f"archived day {number + 1} of {days}")
    history.days = days


def repeat(history: History, days: int) -> None:
    """Go on to so many days in the archive alone: the first day's rows, later and at later offsets."""
    manifest = history.archive.days(FIRST_DAY, FIRST_DAY + timedelta(days=1))[0]
    table = pa.Table.from_batches(history.archive.read(manifest, COLUMNS), SCHEMA)
    for number in range(history.days, days):
        _write(history, manifest, table, number)
    history.days = max(days, history.days)


def _write(history: History, first: Manifest, table: pa.Table, number: int) -> None:
    """The day of this number, counted from 0, and a row of `raw_hours` for each of its hours."""
    day, later = FIRST_DAY + timedelta(days=number), pa.scalar(timedelta(days=number), pa.duration("us"))
    offset = number * history.rows_a_day
    columns = []
    for name, column in zip(COLUMNS, table.columns, strict=True):
        if name in _SHIFTED:
            column = pc.add(column, later)  # noqa: PLW2901
        elif name == "city_date":
            column = pa.chunked_array([pa.repeat(pa.scalar(day, pa.date32()), table.num_rows)])  # noqa: PLW2901
        elif name == "log_offset":
            column = pc.add(column, offset)  # noqa: PLW2901
        columns.append(column)
    shifted = pa.table(columns, schema=SCHEMA)
    covered = {partition: end + offset for partition, end in first.covered.items()}
    schema = described({"city_date": day.isoformat(), "covered": json.dumps(covered)})
    path = f"raw_data/{day:%Y}/{day.isoformat()}.parquet"

    def write(out: object) -> None:
        with day_writer(out, schema) as writer:  # type: ignore[arg-type]
            writer.write_table(shifted.cast(schema), row_group_size=ROW_GROUP)

    stored = history.archive.store.write(path, write)
    made = replace(
        first, city_date=day, path=path, bytes=stored.bytes, checksum=stored.checksum, covered=covered, version=1
    )
    with transaction(history.engine) as connection:
        note_leftover(connection, path)
    assert replace_manifest(history.engine, made, None)
    with history.database.connect() as connection:
        connection.execute(
            "insert into raw_hours "
            "select hour_start + %(later)s, log_partition, %(day)s, rows, max_offset + %(offset)s from raw_hours "
            "where city_date = %(first)s",
            {"later": timedelta(days=number), "day": day, "offset": offset, "first": FIRST_DAY},
        )
        connection.execute(
            "update raw_frontier set next_offset = (select max(max_offset) + 1 from raw_hours h "
            "where h.log_partition = raw_frontier.log_partition)"
        )


def manifests_of(history: History, days: int) -> Sequence[Manifest]:
    """The first days' files."""
    return history.archive.days(FIRST_DAY, FIRST_DAY + timedelta(days=days))
