"""The embedded servers for the tests that need real ones: started once, with a fresh database or topic a test."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import City, load_city
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.settings import Settings
from lambda_pipeline.shipped import shipped_path
from lambda_pipeline.storage.deployment import claim
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.migrate import upgrade
from lambda_pipeline.stream.client import KafkaConnection

HISTORY_START = date(2025, 1, 1)
POLL_INTERVAL = timedelta(minutes=6)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Database:
    """A database of one test, with the newest schema and Jakarta's catalogue."""

    postgres: EmbeddedPostgres
    name: str
    owner: sa.Engine
    writer: sa.Engine
    reader: sa.Engine

    def url(self, user: str = "lambda_writer") -> str:
        """Its address as one of the roles, or as "postgres"."""
        return self.postgres.url(self.name, user)

    def postgres_connection(self) -> psycopg.Connection:
        """The superuser's connection to the server's own database, each statement for itself."""
        return psycopg.connect(self.postgres.url(), autocommit=True)

    def claim(self, city: City, history_start: date = HISTORY_START) -> None:
        """Make it another city's. Only before anything is stored."""
        with transaction(self.owner) as connection:
            connection.execute(sa.text("delete from deployment"))
            connection.execute(sa.text("delete from locations"))
            claim(connection, city, history_start, POLL_INTERVAL)

    def scalar(self, query: str, **values: object) -> object:
        """One value, as the owner."""
        with transaction(self.owner) as connection:
            return connection.execute(sa.text(query), values).scalar()

    def rows(self, query: str, **values: object) -> list[sa.Row]:
        """All rows, as the owner."""
        with transaction(self.owner) as connection:
            return list(connection.execute(sa.text(query), values))


@pytest.fixture(scope="session")
def jakarta() -> City:
    """The shipped catalogue."""
    return load_city(shipped_path("cities", "jakarta.toml"))


@pytest.fixture(scope="session")
def server_home() -> Iterator[Home]:
    """The data folder that the servers of this test run share.

    Not below pytest's own folder, which each run closes to other users anew, and PostgreSQL may run as another one.
    """
    with tempfile.TemporaryDirectory(prefix="lambda-tests-", ignore_cleanup_errors=True) as folder:
        yield Home(Path(folder))


def make_claimed_database(server: EmbeddedPostgres, name: str, city: City) -> None:
    """A database with the newest schema that belongs to a city and holds nothing, and the roles let in."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"create database {name}")  # type: ignore[call-overload]
    engine = make_engine(server.url(name), "owner")
    upgrade(engine)
    with transaction(engine) as connection:
        claim(connection, city, HISTORY_START, POLL_INTERVAL)
    engine.dispose()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("alter role lambda_writer login; alter role lambda_reader login")


@pytest.fixture(scope="session")
def postgres(server_home: Home, jakarta: City) -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL, with a template database that is upgraded and claimed for Jakarta."""
    server = EmbeddedPostgres(server_home, {"fsync": "off"})
    server.start()
    try:
        make_claimed_database(server, "template", jakarta)
        yield server
    finally:
        server.stop()


@pytest.fixture
def empty_database_url(postgres: EmbeddedPostgres) -> str:
    """The superuser's address of a database with nothing in it."""
    name = f"empty_{next(_numbers)}"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return postgres.url(name)


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A database of its own for one test."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"create database {name} template template")
    made = Database(
        postgres,
        name,
        make_engine(postgres.url(name), "test owner", BATCH_TIMEOUTS),
        make_engine(postgres.url(name, "lambda_writer"), "test writer", BATCH_TIMEOUTS),
        make_engine(postgres.url(name, "lambda_reader"), "test reader"),
    )
    yield made
    for engine in (made.owner, made.writer, made.reader):
        engine.dispose()
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def jars_cache() -> Path:
    """Where Kafka's jars are kept between test runs."""
    return Settings(_env_file=None).cache  # type: ignore[call-arg]


@pytest.fixture(scope="session")
def kafka(server_home: Home, jars_cache: Path) -> Iterator[KafkaConnection]:
    """A real Kafka broker."""
    broker = EmbeddedKafka(server_home, jars_cache)
    broker.start(progress=False)
    try:
        yield KafkaConnection(broker.bootstrap_servers)
    finally:
        broker.stop()


@pytest.fixture
def topic_name() -> str:
    """The name of a topic that nobody used before."""
    return f"observations-{os.getpid()}-{next(_numbers)}"
