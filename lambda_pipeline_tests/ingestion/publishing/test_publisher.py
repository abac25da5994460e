"""The publisher, over a producer that fails when told to: what is kept, sent, in which order, and what is said."""

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumberError,
    ProducerFencedError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from lambda_pipeline.errors import SpoolInUseError, SpoolUnavailableError
from lambda_pipeline.ingestion.publisher import PublishCounts, Publisher
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline_tests.ingestion.fake_kafka import DEADLINE, FakeBroker, seen

MIB = 1 << 20
Make = Callable[..., Publisher]


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ingest" / "spool.db"


@pytest.fixture
def make(broker: FakeBroker, path: Path) -> Iterator[Make]:
    made: list[Publisher] = []

    def publisher(spool: Spool | None = None, **options: Any) -> Publisher:
        options = {"retry_after": 0.01, "producer": broker, **options}
        made.append(Publisher({"bootstrap_servers": "127.0.0.1:9"}, "t", spool or Spool(path, MIB), **options))
        return made[-1]

    yield publisher
    for one in made:
        one.close(timeout=0)


def waits(publisher: Publisher, count: int) -> None:
    """Until so many are on the disk and none in memory."""
    assert wait_until(lambda: (publisher.counts().spooled, publisher.counts().in_memory) == (count, 0), DEADLINE)


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


class FailingSpool(Spool):
    """A spool on a disk that takes nothing while `error` is set."""

    error: str | None = None

    def append(self, records: Any) -> None:
        self._refuse()
        super().append(records)

    def remove(self, records: Any) -> None:
        self._refuse()
        super().remove(records)

    def set_aside(self, record: Any, reason: str) -> None:
        self._refuse()
        super().set_aside(record, reason)

    def _refuse(self) -> None:
        if self.error:
            raise SpoolUnavailableError(f"The spool {self.path} cannot be read or written: {self.error}.", "Full?")


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
    left.append([(b"GBK, Gelora", _encoded(number)) for number in range(10)])
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


def _encoded(number: int) -> bytes:
    from lambda_pipeline.domain.observation import encode

    return encode(seen(number))


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


# ---------------------------------------------------------------- the bound


def test_at_the_bound_it_is_full_until_a_tenth_is_free_and_takes_what_is_under_way(
    broker: FakeBroker, make: Make, path: Path
) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")
    size = len(_encoded(0)) + len(b"GBK, Gelora")
    publisher = make(Spool(path, 100 * size))
    for number in range(99):
        publisher.publish(seen(number))
    waits(publisher, 99)
    assert not publisher.is_full
    for number in range(99, 105):
        publisher.publish(seen(number))
    waits(publisher, 105)
    assert publisher.is_full
    allowed = {"until": 10}
    broker.answer = lambda number: None if number < allowed["until"] else KafkaTimeoutError("expired")
    broker.away = None
    waits(publisher, 95)
    assert publisher.is_full
    allowed["until"] = 20
    waits(publisher, 85)
    assert not publisher.is_full
    allowed["until"] = 105
    assert publisher.flush(DEADLINE)
    assert broker.numbers == list(range(105))


# ---------------------------------------------------------------- refused records


@pytest.mark.parametrize("raises", [True, False])
def test_a_record_refused_for_itself_is_set_aside_and_the_rest_goes_on(
    broker: FakeBroker, make: Make, path: Path, caplog: pytest.LogCaptureFixture, raises: bool
) -> None:
    broker.raises = raises
    broker.answer = lambda number: MessageSizeTooLargeError("too large") if number == 1 else None
    publisher = make()
    for number in range(4):
        publisher.publish(seen(number))
    assert publisher.flush(DEADLINE)
    assert broker.numbers == [0, 2, 3]
    assert publisher.counts() == PublishCounts(3, 1, 0, 0)
    assert wait_until(lambda: "refuses GBK, Gelora at 2025-03-05T01:01:00+00:00 for itself" in caplog.text, DEADLINE)
    publisher.close()
    spool = Spool(path, MIB)
    assert [(key, reason) for key, _, reason in spool.refused()] == [
        (b"GBK, Gelora", "[Error 10] MessageSizeTooLargeError: too large")
    ]
    spool.close()


def test_what_kafka_refuses_fills_the_spool_too(broker: FakeBroker, make: Make, path: Path) -> None:
    broker.answer = lambda _: MessageSizeTooLargeError("too large")
    publisher = make(Spool(path, 3 * (len(_encoded(0)) + len(b"GBK, Gelora"))))
    for number in range(3):
        assert not publisher.is_full
        publisher.publish(seen(number))
        assert publisher.flush(DEADLINE)
    assert publisher.is_full
    publisher.close()
    assert make(Spool(path, 1)).is_full


def test_records_refused_only_because_of_their_batch_are_sent(broker: FakeBroker, make: Make, path: Path) -> None:
    left = Spool(path, MIB)
    left.append([(b"GBK, Gelora", _encoded(number)) for number in range(3)])
    left.close()
    answers = iter([MessageSizeTooLargeError("one of them"), MessageSizeTooLargeError("one of them"), None])
    broker.answer = lambda _: next(answers, None)
    publisher = make()
    assert publisher.flush(DEADLINE)
    assert sorted(broker.numbers) == [0, 1, 2]
    assert publisher.counts().refused == 0


# ---------------------------------------------------------------- the disk


def test_what_the_disk_does_not_take_goes_to_kafka_from_memory(
    broker: FakeBroker, make: Make, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = FailingSpool(path, MIB)
    spool.error = "disk full"
    publisher = make(spool, retry_after=60)
    for number in range(10):
        publisher.publish(seen(number))
    assert publisher.flush(DEADLINE)
    assert broker.numbers == list(range(10))
    assert len(lines(caplog, "disk full")) == 1
    assert not publisher.is_full


def test_memory_is_bounded_too_and_is_stored_when_the_disk_is_back(
    broker: FakeBroker, make: Make, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")
    spool = FailingSpool(path, MIB)
    spool.error = "disk full"
    publisher = make(spool, max_in_memory=5)
    for number in range(5):
        assert not publisher.is_full
        publisher.publish(seen(number))
    assert publisher.is_full
    assert wait_until(lambda: bool(lines(caplog, "disk full")), DEADLINE)
    spool.error = None
    waits(publisher, 5)
    assert not publisher.is_full
    assert len(lines(caplog, "can be written again")) == 1
    broker.away = None
    assert publisher.flush(DEADLINE)
    assert broker.numbers == list(range(5))


def test_what_is_acknowledged_but_cannot_be_removed_is_not_sent_again(
    broker: FakeBroker, make: Make, path: Path
) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")
    spool = FailingSpool(path, MIB)
    publisher = make(spool)
    for number in range(3):
        publisher.publish(seen(number))
    waits(publisher, 3)
    spool.error = "disk full"
    publisher.publish(seen(3))
    broker.away = None
    assert publisher.flush(DEADLINE)
    spool.error = None
    publisher.publish(seen(4))
    assert publisher.flush(DEADLINE)
    assert broker.numbers == [0, 1, 2, 3, 4]
    assert wait_until(lambda: spool.depth == 0, DEADLINE)


def test_closing_with_neither_disk_nor_kafka_says_how_many_are_lost(
    broker: FakeBroker, make: Make, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")
    spool = FailingSpool(path, MIB)
    spool.error = "disk full"
    publisher = make(spool)
    publisher.publish(seen(0))
    broker.wait_attempts(2)
    publisher.close()
    assert "1 observations are lost" in caplog.text


def test_a_folder_that_cannot_be_written_at_the_start_does_not_stop_ingest(
    broker: FakeBroker, make: Make, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.write_text("a file where the folder should be")
    publisher = make()
    publisher.publish(seen(0))
    assert publisher.flush(DEADLINE)
    path.parent.unlink()
    assert wait_until(lambda: bool(lines(caplog, "can be written again")) or bool(publisher.publish(seen(1))), DEADLINE)
    assert publisher.flush(DEADLINE)
    assert path.exists()
    assert set(broker.numbers) == {0, 1}
    assert len(lines(caplog, "cannot be read or written")) == 1


# ---------------------------------------------------------------- the real client


def test_a_real_producer_without_kafka_leaves_no_socket_and_no_thread(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # or pytest keeps the errors, and they their frames, and those the sockets
    gc.collect()  # what other tests left may go at any time, and is not what this one counts
    before, threads = open_sockets(), threading.active_count()
    config = {"bootstrap_servers": "127.0.0.1:1", "client_id": "test"}
    publisher = Publisher(config, "t", Spool(path, MIB), retry_after=0.01)
    publisher.publish(seen(1))
    waits(publisher, 1)
    started = time.monotonic()
    publisher.close()
    assert time.monotonic() - started < 3
    assert wait_until(lambda: threading.active_count() <= threads, DEADLINE)
    gc.collect()  # kafka-python leaves sockets that were refused to it
    assert open_sockets() <= before


def open_sockets() -> set[str]:
    links = [path for path in Path("/proc/self/fd").glob("*") if path.is_symlink()]
    return {name for name in (str(path.readlink()) for path in links) if name.startswith("socket:")}
