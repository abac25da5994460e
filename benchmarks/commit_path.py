"""The commit of the speed layer without Kafka, beside a plain COPY of the same rows into a table with the same key."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

import sqlalchemy as sa

from benchmarks.observations import Stream
from benchmarks.servers import Servers
from lambda_pipeline.domain.log import Incoming, judge
from lambda_pipeline.domain.observation import encode
from lambda_pipeline.speed.commit import MicroBatch, Move, commit_micro_batch
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.incoming import driver_connection
from lambda_pipeline.storage.log_partitions import LogPartition, register_partitions

_PLAIN = {
    "location": "text", "timestamp": "timestamptz", "hour_start": "timestamptz", "city_date": "date",
    "latitude": "float8", "longitude": "float8", "aqi_value": "int4", "aqi_category": "varchar",
    "traffic_level": "int2", "current_speed": "float8", "free_flow_speed": "float8", "congestion_ratio": "float8",
    "road_closure": "bool", "is_peak_hour": "bool", "pollutants": "text", "source": "text", "log_partition": "int2",
    "log_offset": "int8", "id": "int8", "is_active": "bool", "created_at": "timestamptz",
    "processing_timestamp": "timestamptz",
}  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A database as its daemons see it, a log partition of it, and observations in batches, ready to be committed."""

    engine: sa.Engine
    timezone: str
    partition: LogPartition
    batches: list[tuple[Incoming, ...]]

    @property
    def rows(self) -> int:
        """Observations in all batches."""
        return sum(map(len, self.batches))


def bench_commit(servers: Servers, stream: Stream, batch: int, batches: int) -> float:
    """Observations a second through `commit_micro_batch`."""
    with prepared(servers, stream, batch, batches) as ready:

        def ours() -> None:
            for number, rows in enumerate(ready.batches):
                moves = (Move(ready.partition, number * batch, (number + 1) * batch),)
                commit_micro_batch(ready.engine, MicroBatch(rows, (), moves), ready.timezone)

        return ready.rows / _seconds(ours)


def bench_plain_copy(servers: Servers, stream: Stream, batch: int, batches: int) -> float:
    """Observations a second through a binary COPY and a commit, and nothing else: no check, no sums, no offsets.

    The pollutants stay text, which saves it what `jsonb` costs.
    """
    with prepared(servers, stream, batch, batches) as ready:
        with transaction(ready.engine) as database:
            database.execute(sa.text("create table plain (like realtime_data, primary key (location, timestamp))"))
            database.execute(sa.text("alter table plain alter pollutants type text"))

        def plain() -> None:
            for rows in ready.batches:
                with transaction(ready.engine) as database:
                    _copy_plain(database, rows)

        return ready.rows / _seconds(plain)


@contextmanager
def prepared(servers: Servers, stream: Stream, batch: int, batches: int) -> Iterator[Prepared]:
    """A fresh database, and the stream's first observations as the daemon would hand them to a commit."""
    with servers.database() as made:
        engine = make_engine(made.url(), "benchmark", BATCH_TIMEOUTS)
        try:
            with transaction(engine) as database:
                partition = register_partitions(database, uuid4(), "benchmark", [0])[0]
                deployment = load_deployment(database)
            validator = deployment.validator()
            appended = int((stream.start + timedelta(days=1)).timestamp() * 1000)
            judged = []
            for number in range(batch * batches):
                record = _Record("benchmark", 0, number, appended, None, encode(stream.message(number)))
                judged.append(judge(record, partition.id, validator))
            assert all(isinstance(one, Incoming) for one in judged)
            cut = [tuple(judged[first : first + batch]) for first in range(0, len(judged), batch)]
            yield Prepared(engine, deployment.timezone, partition, cut)
        finally:
            engine.dispose()


class _Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def _copy_plain(database: sa.Connection, rows: tuple[Incoming, ...]) -> None:
    now = datetime.now(UTC)
    with (
        driver_connection(database).cursor() as cursor,
        cursor.copy(f"copy plain ({', '.join(_PLAIN)}) from stdin (format binary)") as copy,
    ):
        copy.set_types(list(_PLAIN.values()))
        for row in rows:
            copy.write_row((*row.observation, *row[1:4], row.log_offset, True, now, now))


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
