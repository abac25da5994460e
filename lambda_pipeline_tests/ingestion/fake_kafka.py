"""A producer that answers as a test wants, and observations to send."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka.future import Future

from lambda_pipeline.domain.observation import ObservationMessage, decode

START = datetime(2025, 3, 5, 1, tzinfo=UTC)
DEADLINE = 10.0  # seconds to wait for what comes at once


def seen(number: int, location: str = "GBK, Gelora", note: str | None = None) -> ObservationMessage:
    """The observation of a location's minute; `note` makes it as large as wanted."""
    attributions = None if note is None else [{"name": note[at : at + 1000]} for at in range(0, len(note), 1000)]
    return ObservationMessage(
        schema_version=1,
        timestamp=START + timedelta(minutes=number),
        location=location,
        aqi_value=50,
        attributions=attributions,
    )


def number_of(value: bytes) -> int:
    """Which minute an observation is of."""
    return (decode(value).timestamp - START) // timedelta(minutes=1)


class FakeProducer:
    """Stands in for KafkaProducer. Each record is settled by the broker's `answer`, at once."""

    def __init__(self, broker: "FakeBroker", config: dict[str, Any]) -> None:
        self.broker = broker
        self.config = config
        self.closed = False

    def send(self, topic: str, *, key: bytes, value: bytes) -> Future:
        future = Future()
        error = self.broker.answer(number_of(value))
        if self.broker.raises and error is not None:
            raise error
        if error is not None:
            future.failure(error)
        elif not self.broker.hangs:
            self.broker.log.append((topic, key, number_of(value)))
            future.success(None)
        return future

    def close(self, timeout: float) -> None:
        self.closed = True


class FakeBroker:
    """Makes producers, or is away; keeps what it acknowledged."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.answer: Callable[[int], Exception | None] = lambda _number: None
        self.raises = False  # the answer's errors, from `send`, and not through the future
        self.hangs = False
        self.log: list[tuple[str, bytes, int]] = []
        self.producers: list[FakeProducer] = []
        self.attempts = 0
        self.attempted = threading.Condition()

    def __call__(self, **config: Any) -> FakeProducer:
        with self.attempted:
            self.attempts += 1
            self.attempted.notify_all()
        if self.away is not None:
            raise self.away
        self.producers.append(FakeProducer(self, config))
        return self.producers[-1]

    @property
    def numbers(self) -> list[int]:
        """What arrived, in order."""
        return [number for _, _, number in self.log]

    def wait_attempts(self, count: int) -> None:
        """Until so many producers were asked for."""
        with self.attempted:
            assert self.attempted.wait_for(lambda: self.attempts >= count, DEADLINE)
