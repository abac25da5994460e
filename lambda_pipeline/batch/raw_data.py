"""`raw_data`: everything that the log ever held, up to a frontier per log partition.

Whatever has a position below the frontier is in `raw_data`, always: rows and frontiers move in one transaction, and
runs and imports exclude each other.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import chain

import sqlalchemy as sa

from lambda_pipeline.domain.log import DeadLetter, Incoming, judge
from lambda_pipeline.domain.observation import Observation, Validator
from lambda_pipeline.errors import ImportRefusedError, LogGapError, StaleCatalogueError
from lambda_pipeline.garbage import rare_collection
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.dead_letters import insert_dead_letters
from lambda_pipeline.storage.deployment import Deployment, load_deployment, require_catalogue
from lambda_pipeline.storage.engine import retrying, transaction
from lambda_pipeline.storage.floor import raw_floor
from lambda_pipeline.storage.incoming import copy_incoming, upsert_latest
from lambda_pipeline.storage.log_partitions import (
    LogPartition,
    Position,
    import_partition,
    other_logs,
    positions,
    register_partitions,
)
from lambda_pipeline.storage.sql import sql
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogBounds, LogReader
from lambda_pipeline.stream.topic import find_topic

logger = logging.getLogger(__name__)
CHUNK_RECORDS = 20_000  # of one transaction: bounds memory, and what a crash makes a run do again


@dataclass
class RawRun:
    """What one advance of the frontiers did. `positions` maps "topic[partition]" to (from, to) offsets."""

    records: int = 0
    stored: int = 0
    dead_letters: int = 0
    positions: dict[str, tuple[int, int]] = field(default_factory=dict)


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


def advance_raw_data(
    engine: sa.Engine,
    connection: KafkaConnection,
    topic_name: str,
    *,
    accept_loss: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> RawRun:
    """Store every record of the log from the frontiers to its present end, whatever hour it belongs to.

    In transactions of at most `CHUNK_RECORDS` records, each of which moves rows and frontiers together, so that
    memory stays flat and a killed run leaves nothing half done. Where retention took records that were not stored
    yet, they come out of `realtime_data`; what is not there either raises LogGapError, or is noted in `log_gaps`
    with `accept_loss`. `on_progress(done, total)` is told of records. Raises BrokerUnavailableError,
    DatabaseUnavailableError.
    """
    run = RawRun()
    topic = find_topic(connection, topic_name)
    if topic is None:
        logger.info("topic %s does not exist yet: nothing to store", topic_name)
        return run
    with transaction(engine) as database:
        partitions = register_partitions(database, topic.log_id, topic.name, list(topic.partitions))
        gone = other_logs(database, topic.log_id, topic.name)
    for partition in gone:
        _rescue_gone_log(engine, partition, accept_loss=accept_loss)
    with LogReader(connection, topic.name) as reader, rare_collection():
        with transaction(engine, read_only=True) as database:
            read = positions(database, partitions.values())
        bounds = reader.bounds(topic.partitions)  # after the positions: others go on reading meanwhile
        _refuse_cut_logs(partitions, read, bounds)
        for number, partition in partitions.items():
            _bridge_retention(engine, partition, bounds[number], accept_loss=accept_loss)
        while not _store_ranges(engine, reader, partitions, bounds, run, on_progress or _ignore):
            logger.info("another run stores the same records, or the catalogue changed: going on from the frontiers")
    return run


def _store_ranges(
    engine: sa.Engine,
    reader: LogReader,
    partitions: dict[int, LogPartition],
    bounds: dict[int, LogBounds],
    run: RawRun,
    on_progress: Callable[[int, int], None],
) -> bool:
    """Store the log from the frontiers to `bounds`; False as soon as a chunk was given up (see `store_chunk`).

    A chunk that was given up leaves a hole before the next one, so nothing read after it may be stored.
    """
    with transaction(engine, read_only=True) as database:
        deployment, frontiers = load_deployment(database), _frontiers(database)
    ranges = {
        number: (max(frontiers.get(p.id, 0), bounds[number].beginning), bounds[number].end)
        for number, p in partitions.items()
    }
    total = run.records + sum(end - start for start, end in ranges.values())
    under_way: tuple[Chunk, Future[int | None]] | None = None
    with ThreadPoolExecutor(1, "store") as storing:  # PostgreSQL stores a chunk while the next one is read and judged
        for chunk in chain(_chunks(reader, partitions, deployment, ranges), [None]):
            if under_way is not None:
                before, future = under_way
                stored = future.result()
                if stored is None:
                    return False
                _count(run, before, stored, partitions)
                on_progress(run.records, total)
            if chunk is not None:
                under_way = chunk, storing.submit(retrying, partial(store_chunk, engine, chunk))
    return True


def _chunks(
    reader: LogReader,
    partitions: dict[int, LogPartition],
    deployment: Deployment,
    ranges: dict[int, tuple[int, int]],
) -> Iterator[Chunk]:
    """The records of the ranges, judged, in chunks that each go on where the one before ends."""
    validator, left = deployment.validator(), dict(ranges)
    for batch in reader.read(ranges, CHUNK_RECORDS):
        chunk = _judge_chunk(batch, partitions, validator, left)
        for number in batch:
            left[number] = (chunk.moves[partitions[number].id][1], left[number][1])
        yield replace(chunk, catalogue_version=deployment.catalogue_version)


def _count(run: RawRun, chunk: Chunk, stored: int, partitions: dict[int, LogPartition]) -> None:
    """Note a chunk that was stored."""
    run.stored += stored
    run.records += chunk.records
    run.dead_letters += len(chunk.dead_letters)
    for partition in partitions.values():
        if partition.id in chunk.moves:
            start, end = chunk.moves[partition.id]
            name = f"{partition.topic}[{partition.partition}]"
            run.positions[name] = (run.positions.get(name, (start, 0))[0], end)


def _ignore(_done: int, _total: int) -> None:
    """Nobody waits for it."""


def store_chunk(engine: sa.Engine, chunk: Chunk) -> int | None:
    """Store a chunk and move its frontiers, in one transaction; returns how many rows are new, None if given up.

    1. Take the raw lock: no other run and no import stores meanwhile, and the catalogue stays as it is.
    2. Give the chunk up unless every frontier is where it was when the chunk was read: another run moved it, and
       neither may this one store again what that one did, nor leave out what it did not. Also if the catalogue has
       changed since the records were judged.
    3. Make the months' partitions.
    4. COPY, insert what raw_data does not hold (the first stored position of a key never changes) and what is no dead
       letter of the speed layer's, judged by an older catalogue: both layers agree for ever. Count the hours.
    5. Keep the dead letters; move the frontiers.
    """
    with transaction(engine) as database:
        locks.hold_raw(database)
        frontiers = _frontiers(database)
        if any(frontiers.get(partition, 0) != start for partition, (start, _) in chunk.moves.items()):
            return None
        try:
            require_catalogue(database, chunk.catalogue_version)
        except StaleCatalogueError:
            return None
        stored = _insert(database, chunk.observations, chunk.moves)
        insert_dead_letters(database, chunk.dead_letters)
        for partition, (_, end) in sorted(chunk.moves.items()):
            _move_frontier(database, partition, end)
    return stored


def import_observations(engine: sa.Engine, observations: Sequence[Observation], source: str) -> int:
    """Store observations from a file as records of the import log; returns how many were new.

    Like `store_chunk`, but the positions are drawn here: the import log's counter is its frontier, advanced in this
    transaction. What is already stored keeps its first values and position. Raises ImportRefusedError, with nothing
    stored, for what is older than raw_data reaches: its archive would have to be asked.
    """

    def store() -> int:
        with transaction(engine) as database:
            locks.hold_raw(database)
            floor = raw_floor(database)
            if floor is not None and any(observation.timestamp < floor for observation in observations):
                raise ImportRefusedError(
                    f"months before {floor.isoformat()} were dropped from raw_data while they were read.",
                    "Import the file again: what is stored stays as it is, and what is too late is said line by line.",
                )
            partition = import_partition(database)
            first = _frontiers(database).get(partition.id, 0)
            rows = [
                Incoming(observation, source, partition.id, first + number)
                for number, observation in enumerate(observations)
            ]
            stored = _insert(database, rows, {})
            _move_frontier(database, partition.id, first + len(rows))
        return stored

    return retrying(store)


def refresh_latest(engine: sa.Engine, newest: Iterable[Incoming]) -> None:
    """Bring `latest_observations` up to the newest of an import, in a short transaction of its own."""

    def store() -> None:
        with transaction(engine) as database:
            copy_incoming(database, newest)
            upsert_latest(database)

    retrying(store)


def load_frontiers(engine: sa.Engine) -> dict[int, int]:
    """The next offset to store per log partition."""
    with transaction(engine, read_only=True) as database:
        return _frontiers(database)


def _judge_chunk(
    batch: dict[int, list],  # type: ignore[type-arg]
    partitions: dict[int, LogPartition],
    validator: Validator,
    ranges: dict[int, tuple[int, int]],
) -> Chunk:
    observations: list[Incoming] = []
    dead: list[DeadLetter] = []
    moves = {}
    for number, records in batch.items():
        for record in records:
            judged = judge(record, partitions[number].id, validator, for_latest=False)
            if isinstance(judged, Incoming):
                observations.append(judged)
            else:
                dead.append(judged)
        moves[partitions[number].id] = (ranges[number][0], records[-1].offset + 1)
    return Chunk(tuple(observations), tuple(dead), moves)


def _insert(database: sa.Connection, rows: Sequence[Incoming], moves: dict[int, tuple[int, int]]) -> int:
    months = {row.observation.timestamp.replace(day=1, hour=0, minute=0, second=0, microsecond=0) for row in rows}
    for month in sorted(months):
        _ensure_month(database, month)
    copy_incoming(database, rows)
    values = {
        "partitions": list(moves),
        "starts": [start for start, _ in moves.values()],
        "ends": [end for _, end in moves.values()],
    }
    return int(database.execute(sql("batch/insert_raw"), values).scalar_one())


def _ensure_month(database: sa.Connection, month: datetime) -> None:
    database.execute(sa.text("select ensure_raw_partition(:month)"), {"month": month})


def _frontiers(database: sa.Connection) -> dict[int, int]:
    rows = database.execute(sa.text("select log_partition, next_offset from raw_frontier"))
    return {row.log_partition: row.next_offset for row in rows}


def _move_frontier(database: sa.Connection, partition: int, offset: int) -> None:
    database.execute(sql("batch/move_frontier"), {"partition": partition, "offset": offset})


def _refuse_cut_logs(
    partitions: dict[int, LogPartition], read: dict[int, Position], bounds: dict[int, LogBounds]
) -> None:
    """Raise LogGapError where a log was cut short: its next records would be taken for those that were read."""
    cut = [f"{p.topic}[{number}]" for number, p in sorted(partitions.items()) if read[p.id].is_cut(bounds[number].end)]
    if cut:
        raise LogGapError(
            f"the log was cut short, before where it was read to: {', '.join(cut)}.",
            "Run `lambda-pipeline speed --reset-to earliest`: what the log holds from then on counts as a new log.",
        )


def _rescue_gone_log(engine: sa.Engine, partition: LogPartition, *, accept_loss: bool) -> None:
    """Take over what the speed layer consumed of a log that no run will read again: recreated since, or cut short."""
    with transaction(engine, read_only=True) as database:
        consumed = _consumed(database, partition)
    if consumed is not None:
        _bridge_retention(engine, partition, LogBounds(consumed, consumed), accept_loss=accept_loss)


def _consumed(database: sa.Connection, partition: LogPartition) -> int | None:
    """The speed layer's next offset."""
    query = sa.text("select next_offset from stream_offsets where log_partition = :partition")
    found: int | None = database.execute(query, {"partition": partition.id}).scalar()
    return found


def _bridge_retention(engine: sa.Engine, partition: LogPartition, bounds: LogBounds, *, accept_loss: bool) -> None:
    """Move a frontier that fell behind the log's beginning up to it, out of what the speed layer consumed."""

    def bridge() -> None:
        with transaction(engine) as database:
            locks.hold_raw(database)
            frontier = _frontiers(database).get(partition.id)
            consumed = _consumed(database, partition)
            if frontier is None:
                frontier = 0
                if consumed is None and bounds.beginning > 0:  # nobody has read it: it begins where it begins
                    frontier = bounds.beginning
                    _move_frontier(database, partition.id, frontier)
            if frontier >= bounds.beginning:
                return
            held = min(max(consumed or 0, frontier), bounds.beginning)
            lost = [*_passed_over(database, partition, frontier, held), (held, bounds.beginning)]
            for start, end in lost:
                if start < end:
                    _note_loss(database, partition, start, end, accept_loss=accept_loss)
            span = {"partition": partition.id, "from": frontier, "to": bounds.beginning}
            for month in database.execute(sql("batch/rescued_months"), span).scalars().all():
                _ensure_month(database, month)
            rescued = database.execute(sql("batch/rescue_raw"), span).scalar_one()
            _move_frontier(database, partition.id, bounds.beginning)
        logger.warning(
            "%s to %d left the log before they were stored; %d observations came out of realtime_data",
            partition.at(frontier), bounds.beginning, rescued,
        )  # fmt: skip

    retrying(bridge)


def _passed_over(database: sa.Connection, partition: LogPartition, start: int, end: int) -> list[tuple[int, int]]:
    """The parts of [start, end) that the speed layer never consumed, although its offset is beyond them."""
    query = sa.text(
        "select greatest(from_offset, :start) as first, least(to_offset, :end) as until from log_gaps "
        "where log_partition = :partition and layer = 'speed' and from_offset < :end and to_offset > :start "
        "order by from_offset"
    )
    rows = database.execute(query, {"partition": partition.id, "start": start, "end": end})
    return [(row.first, row.until) for row in rows]


def _note_loss(database: sa.Connection, partition: LogPartition, start: int, end: int, *, accept_loss: bool) -> None:
    if not accept_loss:
        raise LogGapError(
            f"{partition.at(start)} to {end} are gone from the log, and neither layer has read them.",
            "Run `lambda-pipeline backfill --from DAY --to DAY --accept-loss` to note the gap and go on.",
        )
    database.execute(
        sa.text(
            "insert into log_gaps (log_partition, from_offset, to_offset, layer, reason) "
            "values (:partition, :start, :end, 'batch', 'deleted from the log before anybody read them') "
            "on conflict do nothing"
        ),
        {"partition": partition.id, "start": start, "end": end},
    )
