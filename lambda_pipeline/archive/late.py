"""Late observations of days that only the archive holds: merged into the day's file, each once."""

from collections.abc import Sequence
from datetime import date

import sqlalchemy as sa

from lambda_pipeline.archive.dropped import gather_day
from lambda_pipeline.archive.manifest import find_manifest, put_manifest
from lambda_pipeline.archive.store import Store
from lambda_pipeline.archive.write import new_path, write_gathered
from lambda_pipeline.domain.log import Incoming
from lambda_pipeline.domain.observation import Observation
from lambda_pipeline.errors import ArchiveContentionError
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.floor import raw_floor
from lambda_pipeline.storage.incoming import copy_incoming
from lambda_pipeline.storage.log_partitions import LogPartition, import_partition
from lambda_pipeline.storage.sql import sql

LATE_SOURCE = "dead-letter"


def merge_late(
    engine: sa.Engine, database: sa.Connection, store: Store, observations: Sequence[Observation], run_id: str
) -> tuple[LogPartition, list[int | None]]:
    """Bring observations from below the retention floor into their days' archives, in the caller's transaction.

    1. Take the raw lock: nothing is stored, counted or dropped meanwhile. Draw positions in the import log, whose
       counter is its frontier.
    2. Per day: gather what its file holds, and what raw_data still has of it; add what is none of that, and count it
       in `raw_hours`, at its new position. A day that gains nothing is left alone.
    3. Write the day's new file, whose path was noted as nobody's in a transaction of its own, and read it back.
    4. Put its manifest in the place of the one that was read. Move the import log's frontier.
    Nobody sees any of it before the caller commits; if it does not, the new files are leftovers, and all is as before.

    Returns the import log's partition, and per observation its offset there; None for one that is stored already,
    whose first values stay. Raises ArchiveContentionError, ArchiveDamagedError, ArchiveUnavailableError,
    ArchiveMismatchError: the caller is to roll back.
    """
    locks.hold_raw(database)
    floor = raw_floor(database)
    if floor is None or any(one.timestamp >= floor for one in observations):
        raise ValueError("observations that raw_data has a place for are not merged into the archive")
    partition = import_partition(database)
    query = sa.text("select next_offset from raw_frontier where log_partition = :partition")
    first: int = database.execute(query, {"partition": partition.id}).scalar() or 0
    until = first + len(observations)
    copy_incoming(
        database,
        [Incoming(one, LATE_SOURCE, partition.id, first + number) for number, one in enumerate(observations)],
    )
    gained: set[int] = set()
    for day in sorted({one.city_date for one in observations}):
        gather_day(database, store, find_manifest(database, day), day, floor)
        added = set(database.execute(sql("archive/add_late"), {"day": day}).scalars())
        if added:
            _rewrite(engine, database, store, day, {partition.id: until}, run_id)
        database.execute(sa.text("delete from dropped_rows"))
        gained |= added
    database.execute(sql("batch/move_frontier"), {"partition": partition.id, "offset": until})
    return partition, [offset if offset in gained else None for offset in range(first, until)]


def _rewrite(
    engine: sa.Engine, database: sa.Connection, store: Store, day: date, covered: dict[int, int], run_id: str
) -> None:
    path = new_path(engine, day)
    new, before = write_gathered(database, store, path, day, covered, run_id)
    if not put_manifest(database, new, before):
        raise ArchiveContentionError(f"another run archived {day} meanwhile.", "Try again; the day is whole.")
