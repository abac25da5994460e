"""Reads a day's file: batch by batch, only the columns and the row groups that are asked for."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lambda_pipeline.archive.manifest import SCHEMA_VERSION, Manifest
from lambda_pipeline.archive.schema import COLUMNS, VERSION_KEY
from lambda_pipeline.archive.store import Store, Stored
from lambda_pipeline.errors import ArchiveDamagedError, SchemaError

BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a day's rows, as sql/archive/day_totals.sql has them of raw_data."""

    rows: int = 0
    aqi_count: int = 0
    aqi_sum: int = 0
    traffic_count: int = 0
    traffic_sum: int = 0
    speed_sum_m_h: int = 0
    ratio_sum_ppb: int = 0
    offset_sum: int = 0


def read_day(
    store: Store,
    manifest: Manifest,
    columns: Sequence[str] | None = None,
    locations: Collection[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """A verified day's observations by location and time: all columns or these, of all locations or of these.

    Row groups without any of the locations are not fetched. Raises ArchiveDamagedError as soon as what is read is not
    what was written, ArchiveUnavailableError, and SchemaError for a file of a newer version.
    """
    asked = list(COLUMNS if columns is None else columns)
    with _opened(store, manifest) as file:
        groups = [
            number for number in range(file.num_row_groups)
            if locations is None or _may_hold(file.metadata.row_group(number), locations)
        ]  # fmt: skip
        if not groups:
            return
        read = asked if locations is None or "location" in asked else [*asked, "location"]
        wanted = None if locations is None else pa.array(sorted(locations), pa.string())
        for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=read, use_threads=False):
            if wanted is not None:
                batch = batch.filter(pc.is_in(batch.column("location"), value_set=wanted))  # noqa: PLW2901
            if batch.num_rows:
                yield batch.select(asked)


def verify(store: Store, manifest: Manifest) -> None:
    """Read all of the file back. Raises ArchiveDamagedError unless it is what its manifest says."""
    refuse_other(manifest, store.examine(manifest.path))
    with _opened(store, manifest):
        pass


def fetch_day(store: Store, manifest: Manifest, folder: Path) -> Path:
    """The day's file on this machine, read whole and found to be what its manifest says.

    In a folder it is the file itself; out of a bucket a copy below `folder`, whose caller removes it. Raises
    ArchiveDamagedError and ArchiveUnavailableError.
    """
    local = store.local_path(manifest.path)
    if local is not None:
        refuse_other(manifest, store.examine(manifest.path))
        return local
    copy = folder / f"{manifest.city_date.isoformat()}-{manifest.checksum[:12]}.parquet"
    refuse_other(manifest, store.fetch(manifest.path, copy))
    return copy


def refuse_other(manifest: Manifest, found: Stored) -> None:
    """Raises ArchiveDamagedError unless that is the manifest's file."""
    if (found.bytes, found.checksum) != (manifest.bytes, manifest.checksum):
        raise _damaged(
            manifest,
            f"{found.bytes} bytes with the checksum {found.checksum[:12]}…, not {manifest.bytes} with "
            f"{manifest.checksum[:12]}…",
        )


def day_totals(store: Store, manifest: Manifest, floor: datetime | None = None) -> tuple[Totals, int]:
    """Sums over what the file really holds from the instant `floor` on; and its rows of hours that end before it.

    Raises like `read_day`.
    """
    sums, before = dict.fromkeys(Totals.__dataclass_fields__, 0), 0
    columns = (
        "timestamp", "hour_start", "aqi_value", "traffic_level", "current_speed", "congestion_ratio", "log_offset",
    )  # fmt: skip
    for batch in read_day(store, manifest, columns):
        if floor is not None:
            of_hours = pc.less_equal(batch.column("hour_start"), _instant(floor - timedelta(hours=1)))
            before += pc.sum(of_hours.cast(pa.int64()), min_count=0).as_py()
            batch = batch.filter(pc.greater_equal(batch.column("timestamp"), _instant(floor)))  # noqa: PLW2901
        sums["rows"] += batch.num_rows
        for name, measure in (("aqi", "aqi_value"), ("traffic", "traffic_level")):
            values = batch.column(measure)
            sums[f"{name}_count"] += len(values) - values.null_count
            sums[f"{name}_sum"] += pc.sum(values, min_count=0).as_py()
        for name, measure, scale in (
            ("speed_sum_m_h", "current_speed", 1000.0),
            ("ratio_sum_ppb", "congestion_ratio", 1e9),
        ):
            whole = pc.round(pc.multiply(batch.column(measure), scale), round_mode="half_to_even")
            sums[name] += pc.sum(whole.cast(pa.int64()), min_count=0).as_py()
        sums["offset_sum"] += pc.sum(batch.column("log_offset"), min_count=0).as_py()
    return Totals(**sums), before


def _instant(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, pa.timestamp("us", tz="UTC"))


@contextmanager
def _opened(store: Store, manifest: Manifest) -> Iterator[pq.ParquetFile]:
    """The file, which holds as many rows as its manifest says; page for page checked as it is read."""
    if manifest.schema_version > SCHEMA_VERSION:
        raise SchemaError(
            f"the archive of {manifest.city_date} is of schema {manifest.schema_version}, this version reads up to "
            f"{SCHEMA_VERSION}.",
            "Use the version of lambda-pipeline that wrote it, or a newer one.",
        )
    try:
        with store.open(manifest.path) as source:
            if source.size() != manifest.bytes:
                raise _damaged(manifest, f"{source.size()} bytes, not {manifest.bytes}")
            with pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=True) as file:
                said = (file.schema_arrow.metadata or {}).get(VERSION_KEY, b"none").decode()
                if file.metadata.num_rows != manifest.rows or said != str(manifest.schema_version):
                    raise _damaged(
                        manifest,
                        f"{file.metadata.num_rows} rows of schema {said}, not {manifest.rows} of "
                        f"{manifest.schema_version}",
                    )
                yield file
    except (pa.ArrowException, OSError) as error:
        store.examine(manifest.path)  # a store that is away says so here
        raise _damaged(manifest, (str(error).strip().splitlines() or ["no reason given"])[0]) from error


def _may_hold(group: pq.RowGroupMetaData, locations: Collection[str]) -> bool:
    """Whether one of the locations lies between the group's first and last, by Parquet's order."""
    statistics = group.column(COLUMNS.index("location")).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    first, last = (value.encode() for value in (statistics.min, statistics.max))
    return any(first <= one.encode() <= last for one in locations)


def _damaged(manifest: Manifest, found: str) -> ArchiveDamagedError:
    day, after = manifest.city_date, manifest.city_date + timedelta(days=1)
    return ArchiveDamagedError(
        f"the archive of {day} is damaged ({manifest.path}): {found}.",
        f"Write it anew: `lambda-pipeline backfill --from {day} --to {after} --asset raw_archive --all`.",
    )
