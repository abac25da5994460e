"""Rows that only the archive has, gathered in a temporary table of a transaction, beside what raw_data still has.

A month of raw_data ends at an instant of UTC, a city's day at one of its own: the day, and with odd offsets the hour,
that the retention floor lies in is half in the archive alone and half in both.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import sqlalchemy as sa

from lambda_pipeline.archive.manifest import Manifest, load_manifests
from lambda_pipeline.archive.read import read_day
from lambda_pipeline.archive.schema import COLUMNS
from lambda_pipeline.archive.store import Store
from lambda_pipeline.errors import ArchiveMismatchError, ArchiveNeededError
from lambda_pipeline.storage.incoming import driver_connection
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql, sql_text

_COPY = f"copy dropped_rows ({', '.join(COLUMNS)}) from stdin (format csv)"
_PLAIN = pa_csv.WriteOptions(include_header=False)  # quotes every text, so that an empty one is not a missing one


def gather_day(connection: sa.Connection, store: Store, before: Manifest | None, day: date, floor: datetime) -> None:
    """Put a whole city day into `dropped_rows`: what its archive holds below the floor, what raw_data does above.

    Raises ArchiveDamagedError, ArchiveUnavailableError; ArchiveNeededError where a day's file was found damaged.
    """
    run_script(connection, sql_text("archive/create_dropped"))
    if before is not None:
        copy_rows(connection, below(read_day(store, before), floor))
    span = connection.execute(sql("archive/day_contents"), {"day": day}).one()
    if span.end_at is not None and span.end_at > floor:
        values = {"start_at": span.start_at, "end_at": span.end_at, "floor_at": floor, "day": day}
        connection.execute(sql("archive/add_kept"), values)


def gather_hours(connection: sa.Connection, store: Store, hours: Sequence[datetime], floor: datetime) -> None:
    """Put the rows of hours into `dropped_rows`, wherever they are.

    Raises like `gather_day`, and ArchiveMismatchError unless there are as many as `raw_hours` has counted: nothing is
    ever computed out of a table that was emptied.
    """
    run_script(connection, sql_text("archive/create_dropped"))
    start, end = min(hours), max(hours) + timedelta(hours=1)
    for manifest in manifests_of(connection, [hour for hour in hours if hour < floor]):
        copy_rows(connection, below(read_day(store, manifest), min(floor, end), start))
    if end > floor:
        values = {"start_at": start, "end_at": end, "floor_at": floor, "day": None}
        connection.execute(sql("archive/add_kept"), values)
    connection.execute(sa.text("analyze dropped_rows"))
    missing = connection.execute(sql("archive/count_dropped"), {"hours": list(hours)}).one_or_none()
    if missing is not None:
        raise ArchiveMismatchError(
            f"archive and raw_data hold {missing.found} rows of hour {missing.hour_start.isoformat()}, and raw_hours "
            f"counted {missing.rows}. Nothing was changed.",
            "This is a defect or an archive that is not this database's; please report it with the log of this run.",
        )


def manifests_of(connection: sa.Connection, hours: Sequence[datetime]) -> list[Manifest]:
    """The archives of the city days of hours. Raises ArchiveNeededError where a day has none that can be relied on."""
    query = sa.text("select distinct city_date from raw_hours where hour_start = any(:hours) order by city_date")
    days = list(connection.execute(query, {"hours": list(hours)}).scalars())
    if not days:
        return []
    found = {one.city_date: one for one in load_manifests(connection, days[0], days[-1] + timedelta(days=1))}
    lost = [day for day in days if day not in found]
    if lost:
        raise ArchiveNeededError(
            f"raw_data does not hold all of {lost[0]} any more, and its archive cannot be relied on.",
            "Put its file back from a backup of the archive.",
        )
    return [found[day] for day in days]


def below(
    batches: Iterator[pa.RecordBatch], floor: datetime, start: datetime | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of before the floor, and not before `start`."""
    for batch in batches:
        chosen = pc.less(batch.column("timestamp"), pa.scalar(floor, pa.timestamp("us", tz="UTC")))
        if start is not None:
            later = pc.greater_equal(batch.column("timestamp"), pa.scalar(start, pa.timestamp("us", tz="UTC")))
            chosen = pc.and_(chosen, later)
        kept = batch.filter(chosen)
        if kept.num_rows:
            yield kept


def copy_rows(connection: sa.Connection, batches: Iterator[pa.RecordBatch]) -> None:
    """Put rows into `dropped_rows`, in the columns of a file."""
    with driver_connection(connection).cursor() as cursor, cursor.copy(_COPY) as copy:
        for batch in batches:
            out = pa.BufferOutputStream()
            pa_csv.write_csv(batch, out, _PLAIN)
            copy.write(out.getvalue().to_pybytes())
