"""A backlog in the log, as an outage of the batch layer leaves it, into raw_data: by one process and by two.

The two are started at every lag here, also where the product would not: that shows from which lag on it pays.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from benchmarks.batch.instruments import processor_seconds
from benchmarks.load import LoadedTopic
from benchmarks.servers import Database, Servers
from lambda_pipeline.batch import raw_share
from lambda_pipeline.batch.raw_data import advance_raw_data
from lambda_pipeline.batch.raw_share import RawRun
from lambda_pipeline.batch.raw_store import Chunk, move_frontier
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.log_partitions import register_partitions


def bench_readers(servers: Servers, loaded: LoadedTopic, lags: tuple[int, ...]) -> dict[str, float]:
    """Seconds for each lag and number of readers; of the longest also where one reader's time goes."""
    figures: dict[str, float] = {}
    for lag in lags:
        for readers in (1, 2):
            with servers.database() as database:
                found = _advance(servers, loaded, database, lag, readers)
            figures[f"readers.{lag}.{readers}"] = found["seconds"]
            if readers == 1:
                figures |= {f"readers.{name}": found[name] for name in ("own", "server", "locked")}
    return figures


def _advance(servers: Servers, loaded: LoadedTopic, database: Database, lag: int, readers: int) -> dict[str, float]:
    """Seconds of wall; of this process's and its backend's processors; and of holding the raw lock."""
    engine = make_engine(database.url("lambda_writer"), "benchmark", BATCH_TIMEOUTS, pool_size=1)
    try:
        _leave(engine, loaded, lag)
        with engine.connect() as connection:
            pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
        started, own, server = time.perf_counter(), time.process_time(), processor_seconds(pid)
        with _any_share_is_worth_it(), _locked(engine) as locked:
            run = advance_raw_data(engine, servers.connection, loaded.topic.name, readers=readers)
        seconds = time.perf_counter() - started
        used = {"own": time.process_time() - own, "server": processor_seconds(pid) - server}
    finally:
        engine.dispose()
    _check(run, lag, readers)
    return {"seconds": seconds, "locked": sum(locked), **used}


def _leave(engine: sa.Engine, loaded: LoadedTopic, lag: int) -> None:
    """As if all but the last so many records had been stored."""
    share = lag / loaded.records
    with transaction(engine) as database:
        topic = loaded.topic
        found = register_partitions(database, topic.log_id, topic.name, list(topic.partitions))
        left = {number: round(end * share) for number, end in loaded.ends.items()}
        left[0] += lag - sum(left.values())
        for number, partition in found.items():
            move_frontier(database, partition.id, loaded.ends[number] - left[number])


def _check(run: RawRun, lag: int, readers: int) -> None:
    if (run.records, run.stored, run.readers) != (lag, lag, readers):
        raise RuntimeError(f"{lag} records were to be stored by {readers} readers: {run}.")


@contextmanager
def _any_share_is_worth_it() -> Iterator[None]:
    least, raw_share.LEAST_SHARE = raw_share.LEAST_SHARE, 1
    try:
        yield
    finally:
        raw_share.LEAST_SHARE = least


@contextmanager
def _locked(engine: sa.Engine) -> Iterator[list[float]]:
    """Seconds of each chunk of this process from when it has the raw lock until it is committed."""
    times: list[float] = []
    taken = [0.0]
    real: Callable[[sa.Engine, Chunk], int | None] = raw_share.store_chunk

    def after(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "pg_advisory_xact_lock(" in statement:
            taken[0] = time.perf_counter()

    def timed(engine: sa.Engine, chunk: Chunk) -> int | None:
        stored = real(engine, chunk)
        times.append(time.perf_counter() - taken[0])
        return stored

    sa.event.listen(engine, "after_cursor_execute", after)
    raw_share.store_chunk = timed
    try:
        yield times
    finally:
        raw_share.store_chunk = real
        sa.event.remove(engine, "after_cursor_execute", after)
