"""One micro-batch, one transaction: the speed layer's side of the union.

An observation is in the speed layer if it was consumed and no batch coverage contains it. The publish (see
batch/publish.py) removes what it covers, so a commit has to leave out what is already published.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from lambda_pipeline.domain.log import DeadLetter, Incoming
from lambda_pipeline.domain.observation import TOO_LATE
from lambda_pipeline.errors import StaleOffsetsError
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.dead_letters import insert_dead_letters
from lambda_pipeline.storage.deployment import require_catalogue
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.incoming import copy_incoming, upsert_latest
from lambda_pipeline.storage.log_partitions import LogPartition
from lambda_pipeline.storage.sql import sql


@dataclass(frozen=True, slots=True)
class Move:
    """A partition's offset on its way: from the one that this consumer believes is stored, to the next to consume."""

    partition: LogPartition
    expected: int
    next: int


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one commit takes: valid observations, dead letters, and the offsets that both of them cover.

    `catalogue_version` is the deployment's by which the records were judged; None if that is not to be checked.
    """

    observations: tuple[Incoming, ...]
    dead_letters: tuple[DeadLetter, ...]
    moves: tuple[Move, ...]
    catalogue_version: int | None = None

    def without(self, partitions: frozenset[int]) -> "MicroBatch":
        """What remains when some log partitions are another consumer's."""
        return MicroBatch(
            tuple(one for one in self.observations if one.log_partition not in partitions),
            tuple(one for one in self.dead_letters if one.log_partition not in partitions),
            tuple(move for move in self.moves if move.partition.id not in partitions),
            self.catalogue_version,
        )


def commit_micro_batch(
    engine: sa.Engine, batch: MicroBatch, timezone: str, await_turn: Callable[[], None] | None = None
) -> int:
    """Commit a micro-batch; returns how many observations the speed layer gained.

    1. COPY the observations into a temporary table; then wait for `await_turn`, where the batch before is not done.
    2. Take the publish lock shared: from here on no swap runs, and every statement sees the last one.
    3. Compare and swap the stored offsets: a zombie, whose partitions another consumer moved on, stops here; and
       one that judged by an older catalogue than the batch layer may have judged by since.
    4. Leave out what the batch layer has found invalid, by an older catalogue: judged so once, it stays so. Upsert
       `latest_observations` from all the rest.
    5. Insert into `realtime_data`, in key order, what neither it nor the published part of `raw_data` holds.
    6. Add exactly what was inserted to `realtime_hourly`, pre-aggregated and in key order.
    7. Keep the dead letters, but for those that are below the retention floor and were stored before it rose: batch
       serves them.

    Raises StaleOffsetsError (3., with the log partitions concerned), StaleCatalogueError (3.),
    DatabaseUnavailableError; conflicts with other transactions pass through to `retrying`.
    """
    with transaction(engine) as connection:
        copy_incoming(connection, batch.observations)
        if await_turn is not None:
            await_turn()
        locks.hold_publish_shared(connection)
        _move_offsets(connection, batch.moves)
        require_catalogue(connection, batch.catalogue_version)
        gained = 0
        if batch.observations:
            _leave_out_dead(connection, batch.moves)
            upsert_latest(connection)
            gained = int(connection.execute(sql("speed/insert_realtime"), {"timezone": timezone}).scalar_one())
        insert_dead_letters(connection, _without_stored(connection, batch.dead_letters))
    return gained


def load_offsets(engine: sa.Engine, partitions: Mapping[int, LogPartition]) -> dict[int, int | None]:
    """The next offset to consume per partition number; None where nothing was consumed yet."""
    with transaction(engine, read_only=True) as connection:
        rows = connection.execute(sa.text("select log_partition, next_offset from stream_offsets"))
        stored = {row.log_partition: row.next_offset for row in rows}
    return {number: stored.get(partition.id) for number, partition in partitions.items()}


def _move_offsets(connection: sa.Connection, moves: tuple[Move, ...]) -> None:
    refused = set(connection.execute(sql("speed/move_offsets"), _arrays(moves)).scalars())
    if refused:
        where = ", ".join(move.partition.at(move.expected) for move in moves if move.partition.id in refused)
        raise StaleOffsetsError(f"{where} was already consumed by another consumer.", partitions=frozenset(refused))


def _leave_out_dead(connection: sa.Connection, moves: tuple[Move, ...]) -> None:
    """No publish would ever contain them: the frontier of raw_data may be beyond them."""
    dead = connection.execute(sql("speed/find_dead"), _arrays(moves)).all()
    if dead:
        partitions, offsets = zip(*dead, strict=True)
        connection.execute(sql("speed/leave_out"), {"partitions": list(partitions), "offsets": list(offsets)})


def _without_stored(connection: sa.Connection, letters: tuple[DeadLetter, ...]) -> list[DeadLetter]:
    """Without what is only too late, and which raw_data has read in time: it is in the archive, or a letter already."""
    late = {letter.log_partition for letter in letters if letter.error.startswith(TOO_LATE)}
    if not late:
        return list(letters)
    rows = connection.execute(
        sa.text("select log_partition, next_offset from raw_frontier where log_partition = any(:partitions)"),
        {"partitions": sorted(late)},
    )
    stored = {row.log_partition: row.next_offset for row in rows}
    return [
        letter for letter in letters
        if not letter.error.startswith(TOO_LATE) or letter.log_offset >= stored.get(letter.log_partition, 0)
    ]  # fmt: skip


def _arrays(moves: tuple[Move, ...]) -> dict[str, list[int]]:
    return {
        "partitions": [move.partition.id for move in moves],
        "expected": [move.expected for move in moves],
        "next": [move.next for move in moves],
    }
