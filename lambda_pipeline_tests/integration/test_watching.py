"""The real daemons, watched: what /metrics says is what was polled, produced and committed, and no log shows a key."""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.simulator import serve
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import ensure_topic
from lambda_pipeline_tests.integration.watched import Watched
from lambda_pipeline_tests.processes import Daemon, daemon, wait_for
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration
KEY, TOKEN, PASSWORD = (secrets.token_hex(16) for _ in range(3))


@pytest.fixture
def ports() -> dict[str, int]:
    return {"LAMBDA_INGEST_METRICS_PORT": free_port(), "LAMBDA_SPEED_METRICS_PORT": free_port()}


@pytest.fixture
def environment(
    database: Database, kafka: KafkaConnection, topic_name: str, tmp_path: Path, jakarta: City, ports: dict[str, int]
) -> Iterator[dict[str, str]]:
    """Both daemons, with planted keys, on simulated APIs that are asked rarely."""
    simulator = serve(jakarta, seed=7)
    scheme, rest = database.url().split("://lambda_writer", 1)
    yield (
        os.environ
        | {
            "DATABASE_URL": f"{scheme}://lambda_writer:{PASSWORD}{rest}",  # the embedded server asks for none
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_TOPIC": topic_name,
            "KAFKA_CONSUMER_GROUP": topic_name,
            "LAMBDA_HOME": str(tmp_path / "home"),
            "LAMBDA_POLL_INTERVAL": "1800",
            "LAMBDA_LOG_FORMAT": "json",
            "LAMBDA_LOG_LEVEL": "DEBUG",
            "LAMBDA_TOMTOM_URL": simulator.url,
            "LAMBDA_AQICN_URL": simulator.url,
            "TOMTOM_API_KEY": KEY,
            "AQICN_TOKEN": TOKEN,
        }
        | {name: str(port) for name, port in ports.items()}
    )
    simulator.close()


def log_ends(kafka: KafkaConnection, topic: str) -> dict[int, int]:
    """Where each partition of the log ends."""
    consumer = KafkaConsumer(**kafka.client_settings("ends"), enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        return {tp.partition: end for tp, end in consumer.end_offsets(partitions).items()}
    finally:
        consumer.close()


def poison(kafka: KafkaConnection, topic: str, count: int) -> None:
    """Records that are no observations."""
    producer = KafkaProducer(**kafka.client_settings("poison"), acks="all")
    for number in range(count):
        producer.send(topic, b"{", partition=number % 4)
    producer.flush(30)
    producer.close()


def test_the_numbers_of_both_daemons_are_those_of_the_log_and_the_database(
    database: Database,
    kafka: KafkaConnection,
    topic_name: str,
    environment: dict[str, str],
    ports: dict[str, int],
    tmp_path: Path,
) -> None:
    ingest, speed = (Watched(port) for port in ports.values())
    ensure_topic(kafka, topic_name, 4)
    poison(kafka, topic_name, 6)
    with daemon("ingest", environment, tmp_path) as polling, daemon("speed", environment, tmp_path) as consuming:
        wait_for(lambda: ingest.is_ok() and speed.is_ok(), "both are healthy")
        wait_for(lambda: ingest.value("lambda_ingest_observations_delivered_total") >= 10, "ten locations are polled")
        wait_for(lambda: sum(log_ends(kafka, topic_name).values()) == all_committed(speed), "all is committed")
        assert polling.stop() == 0  # so that nothing is polled between two looks
        wait_for(lambda: sum(log_ends(kafka, topic_name).values()) == all_committed(speed), "all is committed")
        said = speed.values()
        assert consuming.stop() == 0
        assert speed.health() == (0, "")
    delivered = sum(log_ends(kafka, topic_name).values()) - 6
    assert any(json.loads(line)["message"].startswith(f"published {delivered}, ") for line in polling.log.splitlines())

    def value(name: str, **labels: str) -> float:
        return said[f"lambda_speed_{name}", frozenset(labels.items())]

    assert value("records_total") == delivered + 6
    assert value("dead_letters_total") == 6 == database.scalar("select count(*) from dead_letters")
    assert value("observations_gained_total") == delivered == database.scalar("select count(*) from realtime_data")
    assert value("batch_records_sum") == delivered + 6
    assert value("commit_seconds_count") == value("batch_records_count") > 0
    assert value("end_to_end_seconds_count") == delivered
    assert value("partitions") == 4
    stored = database.rows(
        "select p.partition, o.next_offset from stream_offsets o join log_partitions p on p.id = o.log_partition"
    )
    for row in stored:
        assert value("stored_offset", partition=str(row.partition)) == row.next_offset
        assert value("lag_records", partition=str(row.partition)) == 0
    for process in (polling, consuming):
        assert_is_for_machines(process)


def all_committed(speed: Watched) -> float:
    """Records that were committed, once the partitions are told of as well."""
    said = speed.values()
    stored = sum(value for (name, _), value in said.items() if name == "lambda_speed_stored_offset")
    records = said["lambda_speed_records_total", frozenset()]
    return records if stored == records else -1


def test_what_ingest_polls_is_what_it_counts(
    kafka: KafkaConnection, topic_name: str, environment: dict[str, str], ports: dict[str, int], tmp_path: Path
) -> None:
    ingest = Watched(ports["LAMBDA_INGEST_METRICS_PORT"])
    with daemon("ingest", environment, tmp_path) as process:
        wait_for(ingest.is_ok, "it is healthy")
        wait_for(lambda: ingest.value("lambda_ingest_polls_total", result="publishable") >= 10, "all are polled")
        wait_for(
            lambda: (
                ingest.value("lambda_ingest_observations_delivered_total")
                == ingest.value("lambda_ingest_polls_total", result="publishable")
                == sum(log_ends(kafka, topic_name).values())
            ),
            "what was polled is in the log",
        )
        said = ingest.values()
        assert process.stop() == 0
    polls = said["lambda_ingest_polls_total", frozenset({("result", "publishable")})]
    for source in ("tomtom", "aqicn"):
        of_source = frozenset({("source", source)})
        answers = said["lambda_ingest_answers_total", of_source]
        errors = sum(
            value for (name, labels), value in said.items()
            if name == "lambda_ingest_errors_total" and ("source", source) in labels
        )  # fmt: skip
        assert answers + errors == polls == 10
        assert said["lambda_ingest_quota_used_requests", of_source] >= answers
        assert said["lambda_ingest_locations", of_source] == 10
    assert said["lambda_ingest_quota_limit_requests", frozenset({("source", "tomtom")})] == 2500
    assert said["lambda_ingest_poll_interval_seconds", frozenset()] == 1800
    assert said["lambda_ingest_spool_observations", frozenset()] == 0
    assert said["lambda_ingest_kafka_up", frozenset()] == 1


def apis_away(environment: dict[str, str]) -> dict[str, str]:
    """Its libraries would quote the address with the key. Asked often enough that it is left alone, and said so."""
    nowhere = dict.fromkeys(("LAMBDA_TOMTOM_URL", "LAMBDA_AQICN_URL"), "http://127.0.0.1:9")
    return environment | nowhere | {"LAMBDA_POLL_INTERVAL": "1", "LAMBDA_TOMTOM_DAILY_QUOTA": "1000000"}


def no_key(environment: dict[str, str]) -> dict[str, str]:
    """It ends at once, with an error that a user can mend."""
    return environment | {"TOMTOM_API_KEY": ""}


def nobody_there(environment: dict[str, str]) -> dict[str, str]:
    """PostgreSQL is away, at an address with a password."""
    return environment | {"DATABASE_URL": f"postgresql://writer:{PASSWORD}@127.0.0.1:9/lambda"}


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        (apis_away, "tomtom fails ("), (no_key, "missing: TOMTOM_API_KEY"),
        (nobody_there, "PostgreSQL is not answering"),
    ],
)  # fmt: skip
def test_whatever_goes_wrong_no_log_shows_a_key_and_every_line_can_be_read_by_a_machine(
    environment: dict[str, str], tmp_path: Path, change: Callable[[dict[str, str]], dict[str, str]], sign: str
) -> None:
    with daemon("ingest", change(environment), tmp_path) as process:
        wait_for(lambda: sign in process.log, f"it says: {sign}")
        process.stop()
    assert_is_for_machines(process)


def assert_is_for_machines(process: Daemon) -> None:
    """Each line an object with all that it must hold, and nowhere a secret."""
    for secret in (KEY, TOKEN, PASSWORD):
        assert secret not in process.log
    lines = [json.loads(line) for line in process.log.splitlines()]
    assert lines
    for line in lines:
        assert {"time", "level", "logger", "service", "pid", "message"} <= line.keys()
        assert (line["service"], line["pid"]) == (process.name, process.pid)
