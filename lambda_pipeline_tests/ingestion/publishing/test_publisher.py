"""The publisher, over a producer that fails when told to: what is kept, sent, in which order, and what is said."""

import threading
import time
from pathlib import Path

import pytest
from kafka.errors import (
    KafkaTimeoutError,
    OutOfOrderSequenceNumberError,
    ProducerFencedError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from lambda_pipeline.errors import SpoolInUseError
from lambda_pipeline.ingestion.publisher import PublishCounts
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline_tests.ingestion.fake_kafka import DEADLINE, FakeBroker, seen
from lambda_pipeline_tests.ingestion.publishing.spools import MIB, Make, encoded, lines, waits

# ---------------------------------------------------------------- all is well


def test_a_message_is_keyed_by_location_and_counted_when_acknowledged(broker: FakeBroker, make: Make) -> None:
    publisher = make()
    publisher.publish(seen(1))
    assert publisher.flush(DEADLINE)
    assert broker.log == [("t", b"GBK, Gelora", 1)]
    assert publisher.counts() == PublishCounts(1, 0, 0, 0)


def test_the_producer_is_idempotent_with_all_acks_and_compresses(broker: FakeBroker, make: Make) -> None:
    publisher = make(delivery_timeout=60)
    publisher.publish(seen(1))
    assert publisher.flush(DEADLINE)
    config = broker.producers[0].config
    assert config["bootstrap_servers"] == "127.0.0.1:9"
    assert (config["acks"], config["enable_idempotence"], config["compression_type"]) == ("all", True, "gzip")
    assert config["delivery_timeout_ms"] == 60_000 > config["request_timeout_ms"] + config["linger_ms"]
    assert config["allow_auto_create_topics"] is False


def test_what_many_threads_publish_arrives_in_each_ones_order(broker: FakeBroker, make: Make) -> None:
    publisher = make()
    threads = [
        threading.Thread(target=lambda name=name: [publisher.publish(seen(n, name)) for n in range(500)])  # type: ignore[misc]
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert publisher.flush(DEADLINE)
    for name in (b"a", b"b", b"c", b"d"):
        assert [number for _, key, number in broker.log if key == name] == list(range(500))


# ---------------------------------------------------------------- Kafka is away


def test_what_is_published_while_kafka_is_away_is_on_the_disk_and_is_sent_in_order(
    broker: FakeBroker, make: Make
) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")
    publisher = make()
    for number in range(2500):
        publisher.publish(seen(number))
    waits(publisher, 2500)
    assert not publisher.flush(0)
    broker.away = None
    assert publisher.flush(DEADLINE)
    assert broker.numbers == list(range(2500))
    assert publisher.counts() == PublishCounts(2500, 0, 0, 0)


def test_an_outage_is_two_lines_however_many_observations_and_attempts(
    broker: FakeBroker, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")
    times = iter([100.0, 193.0])
    publisher = make(clock=lambda: next(times))
    for number in range(50):
        publisher.publish(seen(number))
    broker.wait_attempts(5)
    waits(publisher, 50)
    broker.away = None
    assert publisher.flush(DEADLINE)
    assert wait_until(lambda: bool(lines(caplog, "Kafka is back")), DEADLINE)
    [away] = lines(caplog, "does not acknowledge")
    assert "spool.db" in away
    assert "Is Kafka running at 127.0.0.1:9?" in away
    assert lines(caplog, "Kafka is back") == ["Kafka is back after 93 s; 50 observations that waited were sent"]


def test_attempts_at_kafka_are_further_and_further_apart(broker: FakeBroker, make: Make) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")
    publisher = make(retry_after=60.0)
    publisher.publish(seen(1))
    started = time.monotonic()
    broker.wait_attempts(3)
    assert time.monotonic() - started >= 0.25 + 0.5


@pytest.mark.parametrize("raises", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        ProducerFencedError(), OutOfOrderSequenceNumberError(), TopicAuthorizationFailedError({"t"}),
        UnknownTopicOrPartitionError(), ValueError("no partition"),
    ],
)  # fmt: skip
def test_whatever_fails_a_record_but_not_for_itself_is_an_outage_that_a_new_producer_ends(
    broker: FakeBroker, make: Make, error: Exception, raises: bool
) -> None:
    broker.raises = raises
    failures = iter([error, error])
    broker.answer = lambda number: next(failures, None) if number == 1 else None
    publisher = make()
    for number in range(3):
        publisher.publish(seen(number))
    assert publisher.flush(DEADLINE)
    assert broker.numbers == [0, 1, 2]
    assert [producer.closed for producer in broker.producers] == [True, True, False]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (TopicAuthorizationFailedError({"t"}), "May this user write to the topic t"),
        (UnknownTopicOrPartitionError(), "Is there a topic t?"),
        (KafkaTimeoutError("Failed to update metadata after 1.5 secs."), "Is there a topic t?"),
    ],
)
def test_an_outage_that_somebody_must_end_says_what_to_do(
    broker: FakeBroker, make: Make, caplog: pytest.LogCaptureFixture, error: Exception, advice: str
) -> None:
    broker.answer = lambda _: error
    publisher = make()
    publisher.publish(seen(1))
    assert wait_until(lambda: bool(lines(caplog, advice)), DEADLINE)
    assert publisher.counts().refused == 0


def test_nothing_is_sent_behind_a_record_that_failed(broker: FakeBroker, make: Make, path: Path) -> None:
    left = Spool(path, MIB)
    left.append([(b"GBK, Gelora", encoded(number)) for number in range(10)])
    left.close()
    failures = iter([KafkaTimeoutError("expired")])
    broker.answer = lambda number: next(failures, None) if number == 4 else None
    publisher = make()
    assert publisher.flush(DEADLINE)
    assert broker.numbers == list(range(10))


def test_an_unexpected_error_is_logged_and_the_thread_goes_on(
    broker: FakeBroker, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    broker.raises = True
    failures = iter([ZeroDivisionError("a bug")])
    broker.answer = lambda _: next(failures, None)
    publisher = make()
    publisher.publish(seen(1))
    assert publisher.flush(DEADLINE)
    assert broker.numbers == [1]
    assert len(lines(caplog, "sending observations failed unexpectedly")) == 1


# ---------------------------------------------------------------- the next start


def test_what_an_earlier_run_left_is_sent_first(
    broker: FakeBroker, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")
    first = make()
    for number in range(3):
        first.publish(seen(number))
    first.close(timeout=0)
    assert "3 observations stay in " in caplog.text
    broker.away = None
    second = make()
    second.publish(seen(3))
    assert second.flush(DEADLINE)
    assert broker.numbers == [0, 1, 2, 3]
    assert "3 observations of an earlier run are sent first, from GBK, Gelora at 2025-03-05T01:00:00" in caplog.text


def test_closing_stores_everything_and_does_not_wait_for_a_kafka_that_is_known_to_be_away(
    broker: FakeBroker, make: Make, path: Path
) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")
    publisher = make(retry_after=60)
    publisher.publish(seen(0))
    broker.wait_attempts(2)
    for number in range(1, 1000):
        publisher.publish(seen(number))
    started = time.monotonic()
    publisher.close(timeout=30)
    assert time.monotonic() - started < 5
    left = Spool(path, MIB)
    left.open()
    assert left.depth == 1000
    left.close()


def test_closing_while_kafka_hangs_takes_no_longer_than_told(broker: FakeBroker, make: Make, path: Path) -> None:
    broker.hangs = True
    publisher = make()
    publisher.publish(seen(0))
    started = time.monotonic()
    publisher.close(timeout=0.2)
    assert 0.2 <= time.monotonic() - started < 2
    left = Spool(path, MIB)
    left.open()
    assert left.depth == 1
    left.close()


def test_a_message_after_closing_is_an_error_in_the_log(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    publisher = make()
    publisher.close()
    publisher.publish(seen(1))
    assert "lost: GBK, Gelora at 2025-03-05T01:01:00" in caplog.text
    publisher.close()


def test_a_second_publisher_of_a_spool_is_refused(make: Make) -> None:
    make()
    with pytest.raises(SpoolInUseError, match="in use by another ingest"):
        make()
