"""Builders for the tests of the layers: messages, an in-memory log, and the steps that carry it into the layers.

Everything goes through the real code: `judge`, `commit_micro_batch`, `store_chunk`, `prepare` and `swap`.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

from lambda_pipeline.batch.publish import prepare, swap
from lambda_pipeline.batch.raw_store import Chunk, store_chunk
from lambda_pipeline.domain.log import DeadLetter, Incoming, judge
from lambda_pipeline.domain.observation import Observation, ObservationMessage, encode
from lambda_pipeline.speed.commit import MicroBatch, Move, commit_micro_batch
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import session, transaction
from lambda_pipeline.storage.log_partitions import register_partitions
from lambda_pipeline_tests.servers import Database

ZONE = "Asia/Jakarta"
HOUR = datetime(2025, 6, 2, 3, tzinfo=UTC)  # 10:00 on a Monday in Jakarta
NEXT_HOUR = HOUR + timedelta(hours=1)
DAY = date(2025, 6, 2)
DAY_AFTER = date(2025, 6, 3)
APPENDED = datetime(2025, 6, 10, tzinfo=UTC)
MALFORMED = b"{"
LAYER_TABLES = (  # with a total order of their rows
    "realtime_data", "realtime_hourly", "latest_observations", "stream_offsets", "dead_letters", "raw_data",
    "raw_hours", "raw_frontier", "batch_coverage", "published_hours", "batch_aggregations", "city_hourly",
    "computed_days", "peak_hours", "peak_hours_analysis", "log_gaps",
)  # fmt: skip
_log_numbers = itertools.count(1)


def at(minute: float = 0, hour: datetime = HOUR) -> datetime:
    """A minute of an hour."""
    return hour + timedelta(minutes=minute)


def seen(
    minute: float = 0,
    location: str = "Krukut",
    aqi: int | None = None,
    level: int | None = None,
    speeds: tuple[float, float] | None = None,
    *,
    hour: datetime = HOUR,
    **others: object,
) -> ObservationMessage:
    """An observation's message; `speeds` are current and free flow. What is not given is missing."""
    current, free_flow = speeds or (None, None)
    return ObservationMessage(
        schema_version=1,
        timestamp=at(minute, hour),
        location=location,
        aqi_value=aqi,
        traffic_level=level,
        current_speed=current,
        free_flow_speed=free_flow,
        **others,  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class FakeRecord:
    """A record as a Kafka client would hand it over."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class MemoryLog:
    """One incarnation of a topic, in memory, known to the database. Every instance is a new log."""

    def __init__(self, database: Database, partitions: int = 1, topic: str = "observations") -> None:
        self._engine = database.writer
        self._log_id = UUID(int=next(_log_numbers))
        self.topic = topic
        self.records: dict[int, list[FakeRecord]] = {number: [] for number in range(partitions)}
        with transaction(self._engine) as connection:
            self.partitions = register_partitions(connection, self._log_id, topic, list(self.records))
            self.validator = load_deployment(connection).validator()

    def add_partition(self) -> None:
        """One more, as an operator adds them to a topic."""
        self.records[len(self.records)] = []
        with transaction(self._engine) as connection:
            self.partitions = register_partitions(connection, self._log_id, self.topic, list(self.records))

    def append(self, *values: ObservationMessage | bytes | None, partition: int = 0) -> None:
        """Append messages, or bytes as they are."""
        for value in values:
            payload = encode(value) if isinstance(value, ObservationMessage) else value
            offset = len(self.records[partition])
            milliseconds = int(APPENDED.timestamp() * 1000)
            self.records[partition].append(FakeRecord(self.topic, partition, offset, milliseconds, b"key", payload))

    def end(self, partition: int = 0) -> int:
        """The offset that the next record will get."""
        return len(self.records[partition])

    def judged(self, ranges: Mapping[int, tuple[int, int]]) -> tuple[tuple[Incoming, ...], tuple[DeadLetter, ...]]:
        """The records of [start, end) per partition, found valid or not."""
        found = [
            judge(record, self.partitions[number].id, self.validator)
            for number, (start, end) in ranges.items()
            for record in self.records[number][start:end]
        ]
        return (
            tuple(one for one in found if isinstance(one, Incoming)),
            tuple(one for one in found if isinstance(one, DeadLetter)),
        )

    def micro_batch(self, ranges: Mapping[int, tuple[int, int]]) -> MicroBatch:
        """The speed layer's batch of these ranges."""
        moves = (Move(self.partitions[number], start, end) for number, (start, end) in ranges.items())
        return MicroBatch(*self.judged(ranges), tuple(moves))

    def chunk(self, ranges: Mapping[int, tuple[int, int]]) -> Chunk:
        """raw_data's chunk of these ranges."""
        return Chunk(*self.judged(ranges), {self.partitions[number].id: span for number, span in ranges.items()})

    def consume(self, end: int | None = None, partition: int = 0) -> int:
        """The speed layer goes on from its stored offset up to `end`, or to the log's; returns what it gained."""
        start = self._stored("stream_offsets", partition)
        return commit_micro_batch(
            self._engine, self.micro_batch({partition: (start, self.end(partition) if end is None else end)}), ZONE
        )

    def store(self, end: int | None = None, partition: int = 0) -> int | None:
        """raw_data goes on from its frontier up to `end`, or to the log's; returns how many rows are new."""
        start = self._stored("raw_frontier", partition)
        return store_chunk(self._engine, self.chunk({partition: (start, self.end(partition) if end is None else end)}))

    def _stored(self, table: str, partition: int) -> int:
        with transaction(self._engine) as connection:
            query = sa.text(f"select next_offset from {table} where log_partition = :id")
            return connection.execute(query, {"id": self.partitions[partition].id}).scalar() or 0


def publish(database: Database, *hours: datetime, run_id: str = "test") -> list[int | None]:
    """Prepare the hours together and swap them in; what left the speed layer, per hour."""
    with session(database.writer) as connection:
        prepare(connection, hours, ZONE)
        return [swap(connection, hour, ZONE, run_id) for hour in hours]


def observed(database: Database, *messages: ObservationMessage) -> list[Observation]:
    """The messages as valid observations, e.g. for an import."""
    with transaction(database.writer) as connection:
        validator = load_deployment(connection).validator()
    return [validator.validate(message, APPENDED) for message in messages]


def contents(database: Database, tables: Iterable[str] = LAYER_TABLES) -> dict[str, list[tuple[object, ...]]]:
    """Everything that the tables hold, to be compared with later."""
    return {
        table: [tuple(row) for row in database.rows(f"select t::text from {table} t order by 1")] for table in tables
    }


def served(database: Database, hour: datetime = HOUR, location: str = "Krukut") -> tuple[object, ...] | None:
    """(layer, observations, AQI sum, AQI count, level sum, level count) that serving gives for an hour and location."""
    rows = database.rows(
        "select layer, data_points_count, aqi_sum, aqi_count, traffic_sum, traffic_count "
        "from served_hourly where hour_start = :hour and location = :location",
        hour=hour,
        location=location,
    )
    return tuple(rows[0]) if rows else None


def keys(database: Database, table: str) -> list[tuple[str, int]]:
    """(location, minute of its hour) of the observations in realtime_data, raw_data or served_observations."""
    query = f"select location, extract(minute from timestamp)::int from {table} order by timestamp, location"
    return [tuple(row) for row in database.rows(query)]  # type: ignore[misc]
