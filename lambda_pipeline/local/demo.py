"""What the demo adds to a stack: a week of simulated history, and the proof that every observation counts once."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.domain.log import Incoming, judge
from lambda_pipeline.local.simulated_city import SimulatedCity
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.sql import sql
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogReader
from lambda_pipeline.stream.topic import find_topic

HISTORY_DAYS = 7
"""How much simulated history a new demo starts with."""


@dataclass(frozen=True, slots=True)
class HourBalance:
    """One hour: observations produced, and where the platform has them. `hour_start` is UTC."""

    hour_start: datetime
    produced: int
    speed: int
    batch: int
    served: int

    @property
    def adds_up(self) -> bool:
        """Whether every produced observation is served exactly once."""
        return self.produced == self.served == self.speed + self.batch


def simulated_history(
    engine: sa.Engine,
    city: City,
    seed: int,
    until: datetime,
    step: timedelta,
    store: Callable[[list], int],  # type: ignore[type-arg]
) -> int:
    """Hand a week of simulated observations, up to before `until`, to `store` in chunks; returns how many."""
    with transaction(engine) as database:
        validator = load_deployment(database).validator()
    now = datetime.now(UTC)
    chunk, count = [], 0
    start = max(until - timedelta(days=HISTORY_DAYS), validator.history_start)
    for message in SimulatedCity(city, seed).history(start, until, step):
        chunk.append(validator.validate(message, now))
        if len(chunk) == 20_000:
            store(chunk)
            count, chunk = count + len(chunk), []
    if chunk:
        store(chunk)
    return count + len(chunk)


def has_history(engine: sa.Engine) -> bool:
    """Whether the simulated history was written to its end before."""
    with transaction(engine, read_only=True) as database:
        return bool(database.execute(sa.text("select has_simulated_history from deployment")).scalar_one())


def note_history(engine: sa.Engine) -> None:
    """Note that the simulated history is complete. One that was cut short is written again, which adds what lacks."""
    with transaction(engine) as database:
        database.execute(sa.text("update deployment set has_simulated_history = true"))


def balance(engine: sa.Engine, connection: KafkaConnection, topic: str) -> list[HourBalance]:
    """Per hour: distinct observations that went into the log or came from files, against what is served.

    What the log holds is counted by reading it again, independently of both layers.
    """
    produced = Counter(hour for hour, _, _ in _produced(engine, connection, topic))
    with transaction(engine, "REPEATABLE READ", read_only=True) as database:
        rows = database.execute(sql("serving/balance")).all()
    found = {row.hour_start: row for row in rows}
    return [
        HourBalance(
            hour,
            produced.get(hour, 0),
            found[hour].speed if hour in found else 0,
            found[hour].batch if hour in found else 0,
            found[hour].served if hour in found else 0,
        )
        for hour in sorted(set(produced) | set(found))
    ]


def _produced(
    engine: sa.Engine, connection: KafkaConnection, topic_name: str
) -> Iterable[tuple[datetime, str, datetime]]:
    """(hour, location, timestamp) of every distinct valid observation that was produced or imported."""
    topic = find_topic(connection, topic_name)
    with transaction(engine, read_only=True) as database:
        validator = load_deployment(database).validator()
        names = database.execute(sa.text("select id, log_id, partition from log_partitions")).all()
        stored = database.execute(
            sa.text("select hour_start, location, timestamp, log_partition, log_offset from raw_data")
        ).all()
    if topic is None:
        return {(row.hour_start, row.location, row.timestamp) for row in stored}
    with LogReader(connection, topic_name) as reader:
        bounds = reader.bounds(topic.partitions)
        begins = {name.id: bounds[name.partition].beginning for name in names if name.log_id == topic.log_id}
        # what the log does not hold (files, an older topic, what retention took) is counted where it was stored
        keys = {
            (row.hour_start, row.location, row.timestamp)
            for row in stored
            if row.log_offset < begins.get(row.log_partition, row.log_offset + 1)
        }
        ranges = {number: (found.beginning, found.end) for number, found in bounds.items()}
        for batch in reader.read(ranges, 50_000):
            for record in (record for records in batch.values() for record in records):
                judged = judge(record, 0, validator)
                if isinstance(judged, Incoming):
                    observation = judged.observation
                    keys.add((observation.hour_start, observation.location, observation.timestamp))
    return keys
