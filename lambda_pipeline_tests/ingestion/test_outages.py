"""The publisher against a real Kafka that is away, killed, frozen or says no, and its own process killed.

Whatever happens: every observation that was durable is in the log, and for each location the first copies are in order.
"""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from lambda_pipeline.domain.observation import decode, encode
from lambda_pipeline.ingestion.publisher import Publisher
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import ensure_topic
from lambda_pipeline_tests.ingestion.fake_kafka import number_of, seen
from lambda_pipeline_tests.integration import observations
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

MIB = 1 << 20
PLACES = ("Krukut", "Cinere", "Gunung")
DEADLINE = 60.0


class Broker:
    """A Kafka of this module's own, to be ill-treated. Each test has a topic of its own."""

    def __init__(self, home: Path, jars_cache: Path) -> None:
        self.server = EmbeddedKafka(Home(home), jars_cache)
        self.server.start(progress=False)
        self.connection = KafkaConnection(self.server.bootstrap_servers)

    def signal(self, number: signal.Signals) -> None:
        assert self.server.pid
        os.kill(self.server.pid, number)

    def read(self, topic: str) -> dict[int, list[bytes]]:
        """Every value in the log, by partition and in order."""
        consumer = KafkaConsumer(**self.connection.client_settings("test"), enable_auto_commit=False)
        try:
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
            consumer.assign(partitions)
            consumer.seek_to_beginning()
            ends = consumer.end_offsets(partitions)
            values: dict[int, list[bytes]] = {partition.partition: [] for partition in partitions}

            def all_read() -> bool:
                for partition, records in consumer.poll(200).items():
                    values[partition.partition] += [record.value for record in records]
                return all(consumer.position(partition) >= end for partition, end in ends.items())

            assert wait_until(all_read, DEADLINE)
            return values
        finally:
            consumer.close()

    def identities(self, topic: str) -> list[tuple[str, int]]:
        """Location and number of every record; a location's in the log's order."""
        values = itertools.chain.from_iterable(self.read(topic).values())
        return [(decode(value).location, number_of(value)) for value in values]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, jars_cache: Path) -> Iterator[Broker]:
    made = Broker(tmp_path_factory.mktemp("outages"), jars_cache)
    yield made
    made.server.stop(force=True)


@pytest.fixture
def broker(shared: Broker, topic_name: str) -> Iterator[Broker]:
    """The broker, running, with the test's topic."""
    ensure_topic(shared.connection, topic_name, 2)
    yield shared
    if shared.server.pid:
        shared.signal(signal.SIGCONT)
    shared.server.start(progress=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ingest" / "spool.db"


def publisher_of(broker: Broker, topic: str, path: Path, max_bytes: int = 64 * MIB, **options: Any) -> Publisher:
    options = {"delivery_timeout": 3.0, "retry_after": 0.5, **options}
    return Publisher(broker.connection.client_settings("test"), topic, Spool(path, max_bytes), **options)


class Load:
    """Publishes without end from a thread, each location's numbers in order, until it is stopped."""

    def __init__(self, publisher: Publisher) -> None:
        self.published: list[tuple[str, int]] = []
        self._publisher = publisher
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for number in itertools.count():
            for place in PLACES:
                self._publisher.publish(seen(number, place))
                self.published.append((place, number))
            if self._stop.wait(0.01):
                return

    def stop(self) -> list[tuple[str, int]]:
        self._stop.set()
        self._thread.join()
        return self.published


def assert_arrived(found: list[tuple[str, int]], published: list[tuple[str, int]]) -> None:
    """All of it, perhaps more than once; for each location the first copies in order."""
    assert set(found) == set(published)
    for place in {place for place, _ in published}:
        numbers = [number for location, number in found if location == place]
        assert list(dict.fromkeys(numbers)) == sorted(set(numbers))


def delivered(publisher: Publisher, more_than: int) -> bool:
    return wait_until(lambda: publisher.counts().delivered > more_than, DEADLINE)


def test_a_broker_that_is_away_at_the_start_gets_everything_once_when_it_comes(
    broker: Broker, topic_name: str, path: Path
) -> None:
    topic_name += "-new"  # nobody has created it yet
    broker.server.stop(force=True)
    size = len(encode(seen(0, PLACES[0]))) + len(PLACES[0])
    publisher = publisher_of(
        broker, topic_name, path, max_bytes=1000 * size, prepare=lambda: ensure_topic(broker.connection, topic_name, 2)
    )
    published = [(place, number) for number in range(500) for place in PLACES]
    for place, number in published:
        publisher.publish(seen(number, place))
    assert wait_until(lambda: publisher.counts().spooled == 1500, DEADLINE)
    assert publisher.is_full
    broker.server.start(progress=False)
    assert publisher.flush(DEADLINE)
    assert not publisher.is_full
    publisher.close()
    found = broker.identities(topic_name)
    assert len(found) == 1500  # nobody had sent anything before, so each is there once
    assert_arrived(found, published)


def test_a_broker_killed_under_load_and_restarted_gets_everything(
    broker: Broker, topic_name: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = publisher_of(broker, topic_name, path, delivery_timeout=1.0)
    load = Load(publisher)
    assert delivered(publisher, 100)
    broker.server.kill()
    assert wait_until(lambda: "does not acknowledge" in caplog.text, DEADLINE)
    broker.server.start(progress=False)
    assert delivered(publisher, publisher.counts().delivered + 100)
    published = load.stop()
    assert publisher.flush(DEADLINE)
    publisher.close()
    assert_arrived(broker.identities(topic_name), published)
    assert caplog.text.count("does not acknowledge") == 1
    assert wait_until(lambda: caplog.text.count("Kafka is back") == 1, DEADLINE)


def test_a_broker_restarted_within_the_delivery_timeout_gets_everything_once(
    broker: Broker, topic_name: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = publisher_of(broker, topic_name, path, delivery_timeout=DEADLINE)
    load = Load(publisher)
    assert delivered(publisher, 100)
    broker.server.kill()
    broker.server.start(progress=False)
    assert delivered(publisher, publisher.counts().delivered + 100)
    published = load.stop()
    assert publisher.flush(DEADLINE)
    publisher.close()
    assert sorted(broker.identities(topic_name)) == sorted(published)
    assert "does not acknowledge" not in caplog.text


def test_a_broker_frozen_longer_than_the_delivery_timeout_gets_everything_when_thawed(
    broker: Broker, topic_name: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = publisher_of(broker, topic_name, path, delivery_timeout=1.0)
    load = Load(publisher)
    assert delivered(publisher, 100)
    broker.signal(signal.SIGSTOP)
    assert wait_until(lambda: "does not acknowledge" in caplog.text, DEADLINE)
    started = time.monotonic()
    published = load.stop()
    publisher.close()
    assert time.monotonic() - started < 3.5
    broker.signal(signal.SIGCONT)
    again = publisher_of(broker, topic_name, path)
    assert again.flush(DEADLINE)
    again.close()
    assert_arrived(broker.identities(topic_name), published)


def test_stopping_while_the_broker_has_just_frozen_takes_three_seconds(
    broker: Broker, topic_name: str, path: Path
) -> None:
    publisher = publisher_of(broker, topic_name, path, delivery_timeout=20.0)
    publisher.publish(seen(0))
    assert publisher.flush(DEADLINE)
    broker.signal(signal.SIGSTOP)
    publisher.publish(seen(1))
    started = time.monotonic()
    publisher.close()
    assert time.monotonic() - started < 3.5
    spool = Spool(path, MIB)
    assert [number_of(record.value) for record in spool.oldest(10)] == [1]
    spool.close()


# ---------------------------------------------------------------- the publishing process dies

_PUBLISH = """
import sys
from pathlib import Path
from lambda_pipeline.ingestion.publisher import Publisher
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline_tests.ingestion.fake_kafka import seen
address, topic, path, start = sys.argv[1:]
publisher = Publisher({"bootstrap_servers": address}, topic, Spool(Path(path), 64 << 20))
number = int(start)
while True:
    for _ in range(50):
        publisher.publish(seen(number, "Krukut"))
        number += 1
    while publisher.counts().in_memory:
        pass
    print(number, flush=True)
"""


def test_a_publisher_killed_again_and_again_loses_nothing_that_was_durable(
    broker: Broker, topic_name: str, path: Path
) -> None:
    random_numbers = random.Random(11)
    durable = 0
    for _ in range(5):
        command = [sys.executable, "-c", _PUBLISH, broker.connection.bootstrap_servers, topic_name, str(path)]
        child = subprocess.Popen([*command, str(durable)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        killer = None
        for line in child.stdout:  # to its end: what was reported before the kill counts
            durable = int(line)
            if killer is None:
                killer = threading.Timer(random_numbers.uniform(0.05, 0.5), child.kill)
                killer.start()
        child.wait()
        child.stdout.close()
        assert killer is not None
    last = publisher_of(broker, topic_name, path)
    assert last.flush(DEADLINE)
    last.close()
    found = broker.identities(topic_name)
    assert {number for _, number in found} >= set(range(durable))
    assert_arrived(found, [("Krukut", number) for number in range(max(number for _, number in found) + 1)])


def test_a_spool_that_is_sent_twice_is_served_once(
    broker: Broker, topic_name: str, path: Path, tmp_path: Path, database: Database
) -> None:
    spool = Spool(path, MIB)
    messages = [observations.seen(minute, place, aqi=50) for minute in range(50) for place in PLACES]
    spool.append((message.location.encode(), encode(message)) for message in messages)
    spool.close()
    for _ in range(2):
        shutil.copy(path, tmp_path / "kept.db")
        publisher = publisher_of(broker, topic_name, path)
        assert publisher.flush(DEADLINE)
        publisher.close()
        shutil.move(tmp_path / "kept.db", path)  # as if the removal had never reached the disk
    log = observations.MemoryLog(database, partitions=2)
    for partition, values in broker.read(topic_name).items():
        log.append(*values, partition=partition)
        log.consume(partition=partition)
    assert sum(map(len, log.records.values())) == 300
    assert database.scalar("select count(*) from served_observations") == 150
    assert database.scalar("select sum(data_points_count) from served_hourly") == 150


# ---------------------------------------------------------------- records and disks that do not fit


def test_a_record_too_large_for_the_topic_or_the_client_is_set_aside_and_the_rest_arrives(
    broker: Broker, topic_name: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = f"{topic_name}-small"
    admin = KafkaAdminClient(**broker.connection.client_settings("test"))
    admin.create_topics([NewTopic(small, 1, 1, topic_configs={"max.message.bytes": "3000"})])
    admin.close()
    noise = random.Random(3)
    large = {7: 6_000, 20: 1_200_000}  # what gzip makes smaller again is still too large
    spool = Spool(path, 64 * MIB)
    for number in range(30):
        note = "".join(noise.choices("0123456789abcdef", k=large[number])) if number in large else None
        spool.append([(b"Krukut", encode(seen(number, "Krukut", note=note)))])
    spool.close()
    publisher = publisher_of(broker, small, path, delivery_timeout=20.0)
    assert publisher.flush(DEADLINE)
    assert (publisher.counts().delivered, publisher.counts().refused) == (28, 2)
    publisher.close()
    assert sorted(number for _, number in broker.identities(small)) == [n for n in range(30) if n not in large]
    found = [json.loads(value)["timestamp"] for _, value, _ in spool_refused(path)]
    assert sorted(found) == ["2025-03-05T01:07:00Z", "2025-03-05T01:20:00Z"]
    assert caplog.text.count("for itself") == 2
    assert "refuses Krukut at 2025-03-05T01:07:00+00:00 for itself" in caplog.text
    assert '"timestamp":"2025-03-05T01:20:00Z","location":"Krukut"' in caplog.text


def spool_refused(path: Path) -> list[tuple[bytes, bytes, str]]:
    spool = Spool(path, MIB)
    spool.open()
    try:
        return spool.refused()
    finally:
        spool.close()


_FULL_DISK = """
import json, logging, resource, sys
from pathlib import Path
from lambda_pipeline.ingestion.publisher import Publisher
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline_tests.ingestion.fake_kafka import seen
said = []
class Keep(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger("lambda_pipeline").addHandler(Keep())
address, topic, path = sys.argv[1:]
publisher = Publisher({"bootstrap_servers": address}, topic, Spool(Path(path), 64 << 20), retry_after=0.2)
def publish(numbers):
    for number in numbers:
        publisher.publish(seen(number, "Krukut"))
    assert publisher.flush(30)
publish(range(10))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))  # no file grows beyond this
publish(range(10, 2000))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
numbers = iter(range(2000, 10_000))
def is_written_again():
    publish([next(numbers)])
    return any("can be written again" in line for line in said)
assert wait_until(is_written_again, 30)
publisher.close()
print(json.dumps({"said": said, "count": next(numbers)}))
"""


def test_while_the_disk_is_full_observations_reach_kafka_from_memory(
    broker: Broker, topic_name: str, path: Path
) -> None:
    command = [sys.executable, "-c", _FULL_DISK, broker.connection.bootstrap_servers, topic_name, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    [failed, back] = answer["said"]
    assert "spool.db cannot be read or written" in failed
    assert "Is the disk full" in failed
    assert "can be written again" in back
    assert_arrived(broker.identities(topic_name), [("Krukut", number) for number in range(answer["count"])])
