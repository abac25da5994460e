"""A load of observations, duplicates and poison, and what must be served of it.

What is expected comes from the log itself, read by a consumer of its own, and from what the load knows of each value
that it sent; nothing of it is computed by the code that is tried.
"""

import json
import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.faults.poison import Poisoner
from lambda_pipeline_tests.faults.produced import Produced

HOURS = 5  # of event time, so that most events are late
Key = tuple[str, datetime]
Position = tuple[int, int]  # (partition, offset)


@dataclass(frozen=True)
class Values:
    """What an observation says: AQI and traffic level, None where missing."""

    aqi: int | None
    level: int | None


@dataclass(frozen=True)
class Expected:
    """What the layers together must hold of a log."""

    observations: dict[Key, Values]
    dead_letters: dict[Position, bytes | None]

    def hours(self) -> dict[tuple[str, datetime], tuple[int | None, ...]]:
        """(count, AQI sum, count, least, most, level sum, count, least, most) per location and hour."""
        grouped: dict[tuple[str, datetime], list[Values]] = defaultdict(list)
        for (location, moment), values in self.observations.items():
            grouped[location, moment.replace(minute=0, second=0, microsecond=0)].append(values)
        return {key: (len(found), *_sums([v.aqi for v in found]), *_sums([v.level for v in found]))
                for key, found in grouped.items()}  # fmt: skip


def _sums(values: list[int | None]) -> tuple[int | None, ...]:
    present = [value for value in values if value is not None]
    return sum(present), len(present), min(present, default=None), max(present, default=None)


@dataclass
class Load:
    """Produces from a seed, at most `rate` records a second, until it is stopped. Start it with a `with` block."""

    connection: KafkaConnection
    topic: str
    locations: list[str]
    seed: int
    rate: float = 1500.0
    hours: int = HOURS
    meaning: dict[bytes, tuple[Key, Values]] = field(default_factory=dict)
    sent: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._poisoner = Poisoner(self._rng)
        self._keys: list[Key] = []
        self._start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=self.hours)
        self._acknowledged: set[Position] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: BaseException | None = None
        self._producer = self._connect()

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def send(self, count: int) -> None:
        """Produce so many records now, as fast as it goes, and wait until they are in the log."""
        for _ in range(count):
            self._send_one()
        self._producer.flush(60)

    def stop(self) -> None:
        """Produce no more; raises what the producing thread failed with."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(120)
        self._producer.flush(60)
        if self._failure is not None:
            raise self._failure

    def expected(self) -> Expected:
        """What the log holds, by partition and in order: the first values of a key win, poison is dead."""
        observations: dict[Key, Values] = {}
        dead: dict[Position, bytes | None] = {}
        seen: set[Position] = set()
        for partition, offset, value in read_log(self.connection, self.topic):
            seen.add((partition, offset))
            if value is not None and value in self.meaning:
                key, values = self.meaning[value]
                observations.setdefault(key, values)
            else:
                dead[partition, offset] = value
        missing = self._acknowledged - seen
        assert not missing, f"Kafka acknowledged {len(missing)} records that are not in its log"
        return Expected(observations, dead)

    def _connect(self) -> KafkaProducer:
        return KafkaProducer(
            **self.connection.client_settings("load"), acks="all", compression_type="gzip", linger_ms=5,
            enable_idempotence=True, delivery_timeout_ms=120_000, max_block_ms=90_000, request_timeout_ms=5_000,
        )  # fmt: skip

    def _run(self) -> None:
        began = time.monotonic()
        try:
            while not self._stop.is_set():
                due = (time.monotonic() - began) * self.rate
                while self.sent < due and not self._stop.is_set():
                    self._send_one()
                self._stop.wait(0.005)
        except BaseException as error:
            self._failure = error

    def _send_one(self) -> None:
        chance = self._rng.random()
        if chance < 0.03:
            _, key, value = self._poisoner.draw(self._message(self._draw_key(), Values(1, 1)))
        else:
            again = chance < 0.15 and self._keys
            observed = self._rng.choice(self._keys) if again else self._new_key()
            values = Values(self._maybe(500), self._maybe(5))
            # What a message means must be known by its bytes, so each has a number of its own.
            value = json.dumps(self._message(observed, values) | {"number": self.sent}).encode()
            key = observed[0].encode()
            self.meaning[value] = (observed, values)
        self.sent += 1
        future = self._producer.send(self.topic, key=key, value=value)
        future.add_callback(lambda metadata: self._acknowledged.add((metadata.partition, metadata.offset)))

    def _new_key(self) -> Key:
        self._keys.append(self._draw_key())
        return self._keys[-1]

    def _draw_key(self) -> Key:
        number = len(self._keys)
        moment = self._start + timedelta(seconds=self._rng.randrange(self.hours * 3600), microseconds=number)
        return self._rng.choice(self.locations), moment

    def _maybe(self, most: int) -> int | None:
        return self._rng.randint(1, most) if self._rng.random() < 0.9 else None

    @staticmethod
    def _message(key: Key, values: Values) -> dict[str, object]:
        return {
            "schema_version": 1, "timestamp": key[1].isoformat(), "location": key[0],
            "aqi_value": values.aqi, "traffic_level": values.level,
        }  # fmt: skip


@dataclass
class CountedLoad(Load):
    """Counts the observations that it is about to produce.

    Produces also some of what an importer imports, with the same values.
    """

    produced: Produced = field(default_factory=Produced)
    imported: dict[Key, Values] = field(default_factory=dict)

    def _new_key(self) -> Key:
        self.produced.add()
        return super()._new_key()

    def _send_one(self) -> None:
        if self.sent % 40 or not self.imported:
            super()._send_one()
            return
        number = self._rng.randrange(len(self.imported))
        observed, values = list(self.imported.items())[number]
        self.produced.add_planned(number)
        value = json.dumps(self._message(observed, values) | {"number": self.sent}).encode()
        self.meaning[value] = (observed, values)
        self.sent += 1
        self._producer.send(self.topic, key=observed[0].encode(), value=value)

    def plan_import(self, count: int) -> list[ObservationMessage]:
        """Rows for an importer, in the hours of this load."""
        for number in range(count):
            moment = self._start + timedelta(seconds=self._rng.randrange(self.hours * 3600), microseconds=-1 - number)
            values = Values(self._maybe(500), self._maybe(5))
            self.imported[self._rng.choice(self.locations), moment] = values
        return [
            ObservationMessage(
                schema_version=1, timestamp=moment, location=location, aqi_value=values.aqi, traffic_level=values.level
            )
            for (location, moment), values in self.imported.items()
        ]  # fmt: skip


def read_log(connection: KafkaConnection, topic: str) -> list[tuple[int, int, bytes | None]]:
    """(partition, offset, value) of every record, each partition's in order."""
    consumer = KafkaConsumer(**connection.client_settings("oracle"), enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(partitions)
        found: list[tuple[int, int, bytes | None]] = []
        deadline = time.monotonic() + 120
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            assert time.monotonic() < deadline, "the log cannot be read to its end"
            for batch in consumer.poll(500, max_records=10_000).values():
                found += [(record.partition, record.offset, record.value) for record in batch]
        return sorted(found, key=lambda one: one[:2])
    finally:
        consumer.close()
