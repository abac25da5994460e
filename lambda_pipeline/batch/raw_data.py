"""`raw_data`: everything that the log ever held, up to a frontier per log partition.

Whatever has a position below the frontier is in `raw_data`, always: rows and frontiers move in one transaction, and
neither two runs of the same partition nor a run and an import store at the same time.
"""

import logging
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from lambda_pipeline.batch.raw_parallel import store_shares
from lambda_pipeline.batch.raw_share import OnProgress, RawRun, Share, split
from lambda_pipeline.batch.raw_store import ensure_months, frontiers, insert_copied, load_frontiers, move_frontier
from lambda_pipeline.domain.log import Incoming
from lambda_pipeline.domain.observation import Observation
from lambda_pipeline.errors import ImportRefusedError, LogGapError
from lambda_pipeline.garbage import rare_collection
from lambda_pipeline.storage import locks
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


def advance_raw_data(
    engine: sa.Engine,
    connection: KafkaConnection,
    topic_name: str,
    *,
    accept_loss: bool = False,
    readers: int = 1,
    on_progress: OnProgress | None = None,
) -> RawRun:
    """Store every record of the log from the frontiers to its present end, whatever hour it belongs to.

    In transactions of thousands of records (`store_share`), so that memory stays flat and a killed run leaves nothing
    half done; by up to so many `readers`, processes that take a share of the partitions each, where there is much to
    read (`split`). Where retention took records that were not stored yet, they come out of `realtime_data`; what is
    not there either raises LogGapError, or is noted in `log_gaps` with `accept_loss`. `on_progress(done, total)` is
    told of records. Raises BrokerUnavailableError, DatabaseUnavailableError, and LogReaderError where one of several
    readers ends before its time.
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
        shares = split(Share(partitions, bounds), load_frontiers(engine), readers)
        store_shares(engine, connection, reader, shares, run, on_progress or _ignore)
    return run


def _ignore(_done: int, _total: int) -> None:
    """Nobody waits for it."""


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
            first = frontiers(database).get(partition.id, 0)
            rows = [
                Incoming(observation, source, partition.id, first + number)
                for number, observation in enumerate(observations)
            ]
            ensure_months(database, (observation.timestamp for observation in observations))
            copy_incoming(database, rows)
            stored = insert_copied(database, {})
            move_frontier(database, partition.id, first + len(rows))
        return stored

    return retrying(store)


def refresh_latest(engine: sa.Engine, newest: Iterable[Incoming]) -> None:
    """Bring `latest_observations` up to the newest of an import, in a short transaction of its own."""

    def store() -> None:
        with transaction(engine) as database:
            copy_incoming(database, newest)
            upsert_latest(database)

    retrying(store)


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
            frontier = frontiers(database).get(partition.id)
            consumed = _consumed(database, partition)
            if frontier is None:
                frontier = 0
                if consumed is None and bounds.beginning > 0:  # nobody has read it: it begins where it begins
                    frontier = bounds.beginning
                    move_frontier(database, partition.id, frontier)
            if frontier >= bounds.beginning:
                return
            held = min(max(consumed or 0, frontier), bounds.beginning)
            lost = [*_passed_over(database, partition, frontier, held), (held, bounds.beginning)]
            for start, end in lost:
                if start < end:
                    _note_loss(database, partition, start, end, accept_loss=accept_loss)
            span = {"partition": partition.id, "from": frontier, "to": bounds.beginning}
            ensure_months(database, database.execute(sql("batch/rescued_months"), span).scalars().all())
            rescued = database.execute(sql("batch/rescue_raw"), span).scalar_one()
            move_frontier(database, partition.id, bounds.beginning)
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
