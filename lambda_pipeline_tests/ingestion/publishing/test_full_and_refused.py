"""The publisher where something does not take a record: its bound, Kafka, the disk, or nobody at all."""

import gc
import logging
import threading
import time
from pathlib import Path

import pytest
from kafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
)

from lambda_pipeline.ingestion.publisher import PublishCounts, Publisher
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline_tests.ingestion.fake_kafka import DEADLINE, FakeBroker, seen
from lambda_pipeline_tests.ingestion.publishing.spools import MIB, FailingSpool, Make, encoded, lines, waits

# ---------------------------------------------------------------- the bound


def test_at_the_bound_it_is_full_until_a_tenth_is_free_and_takes_what_is_under_way(
    broker: FakeBroker, make: Make, path: Path
) -> None:
    broker.away = KafkaTimeoutError("no bootstrap")
    size = len(encoded(0)) + len(b"GBK, Gelora")
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
    publisher = make(Spool(path, 3 * (len(encoded(0)) + len(b"GBK, Gelora"))))
    for number in range(3):
        assert not publisher.is_full
        publisher.publish(seen(number))
        assert publisher.flush(DEADLINE)
    assert publisher.is_full
    publisher.close()
    assert make(Spool(path, 1)).is_full


def test_records_refused_only_because_of_their_batch_are_sent(broker: FakeBroker, make: Make, path: Path) -> None:
    left = Spool(path, MIB)
    left.append([(b"GBK, Gelora", encoded(number)) for number in range(3)])
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
