"""The embedded Kafka as it will be met: first start, restart, crash, a port that is taken."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local import kafka
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.processes import wait_until

pytestmark = pytest.mark.integration

CACHE = Path(
    os.environ.get("LAMBDA_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lambda-pipeline"
)


@contextlib.contextmanager
def running(path: Path) -> Iterator[EmbeddedKafka]:
    server = EmbeddedKafka(Home(path), CACHE)
    try:
        server.start()
        yield server
    finally:
        server.stop(force=True)


def produce(server: EmbeddedKafka, values: list[bytes]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=server.bootstrap_servers)
    if "t" not in admin.list_topics():
        admin.create_topics([NewTopic(name="t", num_partitions=1, replication_factor=1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=server.bootstrap_servers, acks="all", compression_type="gzip")
    for value in values:
        producer.send("t", value).get(20)
    producer.close()


def consume(server: EmbeddedKafka, count: int) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=server.bootstrap_servers, enable_auto_commit=False)
    consumer.assign([TopicPartition("t", 0)])
    consumer.seek_to_beginning()
    values: list[bytes] = []

    def enough() -> bool:
        values.extend(record.value for records in consumer.poll(200).values() for record in records)
        return len(values) >= count

    wait_until(enough, 20)
    consumer.close()
    return values


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_restart_crash_and_takeover_keep_what_was_acknowledged(tmp_path: Path) -> None:
    """One long story, because each start of a broker takes two seconds."""
    with running(tmp_path) as server:
        address, pid = server.bootstrap_servers, server.pid
        assert pid
        produce(server, [b"one"])

        second = EmbeddedKafka(Home(tmp_path), CACHE)
        second.start()  # uses the one that runs
        assert not second.started_here
        assert second.pid == pid
        second.stop()
        assert server.is_running()
    assert gone(pid)
    assert not server.is_running()

    with running(tmp_path) as server:
        assert server.bootstrap_servers == address
        assert consume(server, 1) == [b"one"]
        produce(server, [b"two"])
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        server.start()
        assert consume(server, 2) == [b"one", b"two"]


def test_a_broker_that_hangs_is_stopped_and_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "ANSWER_SECONDS", 0.5)
    with running(tmp_path) as server:
        produce(server, [b"one"])
        frozen = server.pid
        assert frozen
        os.kill(frozen, signal.SIGSTOP)
        with running(tmp_path) as second:
            assert second.started_here
            assert gone(frozen)
            assert consume(second, 1) == [b"one"]


def test_it_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.kafka import EmbeddedKafka
EmbeddedKafka(Home(Path({str(tmp_path)!r})), Path({str(CACHE)!r})).start()
time.sleep(120)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    server = EmbeddedKafka(Home(tmp_path), CACHE)
    assert wait_until(server.is_running, 60)
    pid = server.pid
    assert pid
    parent.kill()
    parent.wait()
    assert wait_until(lambda: gone(pid), 20)


def test_a_taken_port_is_replaced_unless_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "ANSWER_SECONDS", 0.5)  # the stranger never answers
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        home = Home(tmp_path)
        (home.kafka / "ports.json").write_text(json.dumps({"broker": taken, "controller": taken}))
        assert not EmbeddedKafka(home, CACHE).is_running()
        with pytest.raises(EmbeddedServerError, match=f"Port {taken}, asked for Kafka, is taken"):
            EmbeddedKafka(home, CACHE, port=taken).start()
        with running(tmp_path) as server:
            assert server.bootstrap_servers != f"127.0.0.1:{taken}"
            assert server.is_running()


@pytest.mark.parametrize("name", ["with space & ünïcode %41 $x", "x" * 120])
def test_long_and_odd_paths(tmp_path: Path, name: str) -> None:
    with running(tmp_path / name) as server:
        produce(server, [b"one"])
        assert server.log_file.stat().st_size > 0


def test_its_log_and_its_heap_are_bounded(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        process = psutil.Process(server.pid)
        assert "-Xmx512m" in process.cmdline()
        assert process.memory_info().rss < 400 << 20
        assert set(process.environ()) == {"LC_ALL", "TZ", "LAMBDA_PROCESS_TOKEN"}


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    with running(tmp_path):
        pass
    server = EmbeddedKafka(Home(tmp_path), CACHE)
    meta = server.data / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))
    with pytest.raises(EmbeddedServerError, match=r"(?s)Kafka did not start.*kafka\.log.*7"):
        server.start()
    assert server.pid is None
