"""Storing into raw_data: rows and the frontiers of their log partitions move in one transaction, under the raw lock.

A chunk of the log holds it shared: chunks of other partitions are stored at the same time. All else holds it alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from lambda_pipeline.domain.log import DeadLetter, Incoming
from lambda_pipeline.errors import StaleCatalogueError
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.dead_letters import insert_dead_letters
from lambda_pipeline.storage.deployment import require_catalogue
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.incoming import copy_incoming
from lambda_pipeline.storage.sql import sql


@dataclass(frozen=True, slots=True)
class Chunk:
    """Judged records of one or more partitions; `moves` maps log partition to (frontier before, frontier after)."""

    observations: tuple[Incoming, ...]
    dead_letters: tuple[DeadLetter, ...]
    moves: dict[int, tuple[int, int]]
    catalogue_version: int | None = None  # by which they were judged; None if that is not to be checked

    @property
    def records(self) -> int:
        """How many records it is made of."""
        return len(self.observations) + len(self.dead_letters)


def store_chunk(engine: sa.Engine, chunk: Chunk) -> int | None:
    """Store a chunk and move its frontiers, in one transaction; returns how many rows are new, None if given up.

    1. COPY the rows into this session's own temporary table, which needs no lock.
    2. Take the raw lock, shared, and those of the chunk's log partitions: no other run stores the same partitions
       meanwhile, no import stores anything, and the catalogue stays as it is. Whatever is asked from here on is asked
       after that: each statement has a snapshot of its own.
    3. Give the chunk up unless every frontier is where it was when the chunk was read: another run moved it, and
       neither may this one store again what that one did, nor leave out what it did not. Also if the catalogue has
       changed since the records were judged.
    4. Make the months' partitions.
    5. Insert what raw_data does not hold (the first stored position of a key never changes) and what is no dead letter
       of the speed layer's, judged by an older catalogue: both layers agree for ever. Count the hours.
    6. Keep the dead letters; move the frontiers.

    A chunk of other log partitions may be stored at the same time. What the two may both hold is a key of raw_data:
    the second waits there until the first is committed (and stores it not) or is not (and stores it), so that whoever
    sees the second's frontiers sees the first's row. Nobody waits for somebody who waits for him: locks are taken in
    the order of the steps, within a step in the order of log partitions, months, keys and positions.
    """
    with transaction(engine) as database:
        copy_incoming(database, chunk.observations)
        locks.hold_raw_shared(database, chunk.moves)
        found = frontiers(database)
        if any(found.get(partition, 0) != start for partition, (start, _) in chunk.moves.items()):
            return None
        try:
            require_catalogue(database, chunk.catalogue_version)
        except StaleCatalogueError:
            return None
        ensure_months(database, (row.observation.timestamp for row in chunk.observations))
        stored = insert_copied(database, chunk.moves)
        insert_dead_letters(database, chunk.dead_letters)
        for partition, (_, end) in sorted(chunk.moves.items()):
            move_frontier(database, partition, end)
    return stored


def insert_copied(database: sa.Connection, moves: Mapping[int, tuple[int, int]]) -> int:
    """Store what `incoming` holds and raw_data does not, and count its hours; returns how many rows are new.

    The raw lock is held, and the months have their partitions. `moves` says where dead letters are looked for.
    """
    values = {
        "partitions": list(moves),
        "starts": [start for start, _ in moves.values()],
        "ends": [end for _, end in moves.values()],
    }
    return int(database.execute(sql("batch/insert_raw"), values).scalar_one())


def ensure_months(database: sa.Connection, instants: Iterable[datetime]) -> None:
    """Make raw_data's partitions for these instants. The raw lock is held."""
    months = {instant.replace(day=1, hour=0, minute=0, second=0, microsecond=0) for instant in instants}
    for month in sorted(months):
        database.execute(sa.text("select ensure_raw_partition(:month)"), {"month": month})


def frontiers(database: sa.Connection) -> dict[int, int]:
    """The next offset to store per log partition."""
    rows = database.execute(sa.text("select log_partition, next_offset from raw_frontier"))
    return {row.log_partition: row.next_offset for row in rows}


def move_frontier(database: sa.Connection, partition: int, offset: int) -> None:
    """Everything of a log partition below an offset is stored. The raw lock is held."""
    database.execute(sql("batch/move_frontier"), {"partition": partition, "offset": offset})


def load_frontiers(engine: sa.Engine) -> dict[int, int]:
    """The next offset to store per log partition."""
    with transaction(engine, read_only=True) as database:
        return frontiers(database)
