"""The publisher, over a producer that fails when told to."""

import gc
import logging
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumberError,
    ProducerFencedError,
    TopicAuthorizationFailedError,
)
from kafka.future import Future

from lambda_pipeline.domain.observation import ObservationMessage, decode
from lambda_pipeline.ingestion.publisher import PublishCounts, Publisher

MESSAGE = ObservationMessage(
    schema_version=1, timestamp=datetime(2025, 3, 5, 1, tzinfo=UTC), location="GBK, Gelora", aqi_value=50
)


class FakeProducer:
    """Stands in for KafkaProducer: keeps what is sent until the test settles it."""

    def __init__(self, **config: Any) -> None:
        self.config = config
        self.sent: list[tuple[str, bytes, bytes, Future]] = []
        self.fails: Exception | None = None
        self.closed = False

    def send(self, topic: str, *, key: bytes, value: bytes) -> Future:
        if self.fails is not None:
            raise self.fails
        future = Future()
        self.sent.append((topic, key, value, future))
        return future

    def close(self, timeout: float) -> None:
        self.closed = True


class Broker:
    """Makes producers, or is away."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.attempts = 0
        self.producers: list[FakeProducer] = []
        self.failures: list[tuple[ObservationMessage, Exception]] = []
        self.time = 0.0

    def __call__(self, **config: Any) -> FakeProducer:
        self.attempts += 1
        if self.away is not None:
            raise self.away
        self.producers.append(FakeProducer(**config))
        return self.producers[-1]

    def publisher(self, **options: Any) -> Publisher:
        return Publisher(
            {"bootstrap_servers": "127.0.0.1:9"},
            "traffic-aqi-data",
            producer=self,
            clock=lambda: self.time,
            on_failure=lambda message, error: self.failures.append((message, error)),
            **options,
        )


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_a_message_is_keyed_by_location_and_counted_when_delivered(broker: Broker) -> None:
    publisher = broker.publisher()
    publisher.publish(MESSAGE)
    topic, key, value, future = broker.producers[0].sent[0]
    assert (topic, key, decode(value)) == ("traffic-aqi-data", b"GBK, Gelora", MESSAGE)
    assert publisher.counts() == PublishCounts(0, 0, 1)
    future.success(None)
    assert publisher.counts() == PublishCounts(1, 0, 0)
    assert broker.failures == []


def test_the_producer_is_idempotent_with_all_acks_and_compresses(broker: Broker) -> None:
    broker.publisher(delivery_timeout=60).publish(MESSAGE)
    config = broker.producers[0].config
    assert config["bootstrap_servers"] == "127.0.0.1:9"
    assert (config["acks"], config["enable_idempotence"], config["compression_type"]) == ("all", True, "gzip")
    assert config["delivery_timeout_ms"] == 60_000
    assert config["allow_auto_create_topics"] is False


def test_a_delivery_that_fails_is_logged_with_its_place_and_handed_on(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = broker.publisher()
    publisher.publish(MESSAGE)
    error = KafkaTimeoutError("expired")
    broker.producers[0].sent[0][3].failure(error)
    assert broker.failures == [(MESSAGE, error)]
    assert publisher.counts() == PublishCounts(0, 1, 0)
    assert "GBK, Gelora at 2025-03-05T01:00:00+00:00" in caplog.text


def test_kafka_away_from_the_start_is_tried_again_only_after_a_while(broker: Broker) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")
    publisher = broker.publisher(reconnect_after=5.0)
    publisher.publish(MESSAGE)
    publisher.publish(MESSAGE)
    assert broker.attempts == 1
    assert len(broker.failures) == 2
    broker.away, broker.time = None, 5.0
    publisher.publish(MESSAGE)
    assert broker.attempts == 2
    assert publisher.counts() == PublishCounts(0, 2, 1)


def test_a_topic_that_is_not_found_keeps_the_producer_and_is_asked_for_only_after_a_while(broker: Broker) -> None:
    publisher = broker.publisher(reconnect_after=5.0)
    publisher.publish(MESSAGE)
    broker.producers[0].fails = KafkaTimeoutError("no metadata")
    publisher.publish(MESSAGE)
    broker.producers[0].fails = None
    publisher.publish(MESSAGE)
    assert len(broker.failures) == 2
    broker.time = 5.0
    publisher.publish(MESSAGE)
    assert len(broker.producers) == 1
    assert not broker.producers[0].closed
    assert publisher.counts() == PublishCounts(0, 2, 2)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "error", [ProducerFencedError(), OutOfOrderSequenceNumberError(), TopicAuthorizationFailedError({"t"})]
)
def test_a_producer_that_is_beyond_repair_is_replaced_after_a_while(
    broker: Broker, error: Exception, at_once: bool
) -> None:
    publisher = broker.publisher(reconnect_after=5.0)
    publisher.publish(MESSAGE)
    if at_once:
        broker.producers[0].fails = error
        publisher.publish(MESSAGE)
    else:
        broker.producers[0].sent[0][3].failure(error)
    assert broker.failures == [(MESSAGE, error)]
    publisher.publish(MESSAGE)
    assert broker.producers[0].closed
    assert len(broker.producers) == 1
    broker.time = 5.0
    publisher.publish(MESSAGE)
    assert len(broker.producers) == 2


@pytest.mark.parametrize("error", [MessageSizeTooLargeError(), ValueError("no partition")])
def test_a_message_that_cannot_be_sent_leaves_the_producer(broker: Broker, error: Exception) -> None:
    publisher = broker.publisher()
    publisher.publish(MESSAGE)
    broker.producers[0].fails = error
    publisher.publish(MESSAGE)
    broker.producers[0].fails = None
    publisher.publish(MESSAGE)
    assert broker.failures == [(MESSAGE, error)]
    assert len(broker.producers) == 1
    assert not broker.producers[0].closed


def test_the_buffer_is_bounded(broker: Broker) -> None:
    publisher = broker.publisher(max_pending=2)
    for _ in range(3):
        publisher.publish(MESSAGE)
    assert len(broker.producers[0].sent) == 2
    assert publisher.counts() == PublishCounts(0, 1, 2)


def test_flush_waits_for_what_is_under_way(broker: Broker) -> None:
    publisher = broker.publisher()
    assert publisher.flush(0)
    publisher.publish(MESSAGE)
    assert not publisher.flush(0)
    future = broker.producers[0].sent[0][3]
    threading.Timer(0.05, lambda: future.success(None)).start()
    assert publisher.flush(10)


def test_close_gives_up_what_remains_and_reports_each_once(broker: Broker) -> None:
    publisher = broker.publisher()
    publisher.publish(MESSAGE)
    publisher.close(timeout=0)
    assert broker.producers[0].closed
    assert [message for message, _ in broker.failures] == [MESSAGE]
    broker.producers[0].sent[0][3].success(None)  # too late
    assert publisher.counts() == PublishCounts(0, 1, 0)
    publisher.publish(MESSAGE)
    assert len(broker.failures) == 2
    assert len(broker.producers) == 1
    publisher.close()


def test_a_handler_that_fails_does_not_harm(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")

    def handler(message: ObservationMessage, error: Exception) -> None:
        raise OSError("disk full")

    publisher = Publisher({}, "t", producer=broker, on_failure=handler)
    publisher.publish(MESSAGE)
    assert publisher.counts().failed == 1
    assert "the handler of failed deliveries failed" in caplog.text


def test_a_real_producer_without_kafka_fails_within_seconds_and_leaves_no_socket(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)  # or pytest keeps the errors, and they their frames, and those the sockets
    failures: list[ObservationMessage] = []
    publisher = Publisher(
        {"bootstrap_servers": "127.0.0.1:1", "client_id": "test"},
        "t",
        on_failure=lambda message, _: failures.append(message),
    )
    gc.collect()  # what other tests left may go at any time, and is not what this one counts
    before, threads = open_sockets(), threading.active_count()
    started = time.monotonic()
    publisher.publish(MESSAGE)
    assert time.monotonic() - started < 10
    assert failures == [MESSAGE]
    publisher.close()
    gc.collect()  # kafka-python leaves sockets that were refused to it
    assert open_sockets() <= before
    assert threading.active_count() <= threads


def open_sockets() -> set[str]:
    links = [path for path in Path("/proc/self/fd").glob("*") if path.is_symlink()]
    return {name for name in (str(path.readlink()) for path in links) if name.startswith("socket:")}
