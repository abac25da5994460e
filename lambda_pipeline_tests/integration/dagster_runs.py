"""Dagster runs in this process, on a Dagster of a test's own, and a speed daemon beside them."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaProducer

from lambda_pipeline.domain.observation import ObservationMessage, encode
from lambda_pipeline.local.dagster_home import prepare_dagster_home
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.speed.consumer import SpeedDaemon, SpeedOptions
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import Topic, ensure_topic
from lambda_pipeline_tests.cli.commands import SETTINGS
from lambda_pipeline_tests.servers import Database

DEADLINE = 60.0
PLACES = ("Cinere", "Gunung")  # each with a partition of its own
Produce = Callable[[Sequence[ObservationMessage | bytes]], None]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def dagster_template(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with Dagster's tables in it; making them takes longer than a whole run."""
    import dagster as dg  # here, because not every test of this folder should wait for it

    name = "dagster_template"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    environment = prepare_dagster_home(tmp_path_factory.mktemp("dagster_template"), dagster_url(postgres, name))
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        with dg.DagsterInstance.get() as instance:
            instance.get_run_records(limit=1)
    return name


def dagster_url(postgres: EmbeddedPostgres, name: str) -> str:
    return postgres.url(name).replace("postgresql://", "postgresql+psycopg2://", 1)


@pytest.fixture
def topic(
    database: Database,
    kafka: KafkaConnection,
    topic_name: str,
    dagster_template: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Topic]:
    """A topic of two partitions, and this process's environment set to it, the database and a Dagster of its own."""
    name = f"dagster_{next(_numbers)}"
    with database.postgres_connection() as connection:
        connection.execute(f"create database {name} template {dagster_template}")
    for variable in SETTINGS:
        monkeypatch.delenv(variable, raising=False)
    environment = {
        "DATABASE_URL": database.url(),
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC": topic_name,
        "DAGSTER_EVENT_BATCH_SIZE": "1000",
        **prepare_dagster_home(tmp_path / "dagster", dagster_url(database.postgres, name)),
    }
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    yield ensure_topic(kafka, topic_name, 2)
    with database.postgres_connection() as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def produce(kafka: KafkaConnection, topic: Topic) -> Produce:
    """Append records, those of a place to one and the same partition."""

    def send(messages: Sequence[ObservationMessage | bytes]) -> None:
        producer = KafkaProducer(**kafka.client_settings("test"), acks="all")
        for one in messages:
            is_message = isinstance(one, ObservationMessage)
            partition = PLACES.index(one.location) if is_message else 0  # type: ignore[union-attr]
            producer.send(topic.name, encode(one) if is_message else one, partition=partition)  # type: ignore[arg-type]
        producer.flush(DEADLINE)
        producer.close()

    return send


def consume(database: Database, kafka: KafkaConnection, topic: Topic, records: int) -> None:
    """Let the speed daemon run until it has committed so many records."""
    stop, seen = threading.Event(), [0]

    def on_commit(batch: object, _gained: int) -> None:
        seen[0] += len(batch.observations) + len(batch.dead_letters)  # type: ignore[attr-defined]
        if seen[0] >= records:
            stop.set()

    too_late = threading.Timer(DEADLINE, stop.set)
    too_late.start()
    options = SpeedOptions(group=f"{topic.name}-{next(_numbers)}")
    SpeedDaemon(database.writer, kafka, topic, options, on_commit).run(stop)
    too_late.cancel()
    assert seen[0] == records
