"""The embedded servers of a benchmark, as the product runs them, in a temporary home; and databases on them."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.observations import write_catalogue
from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.settings import load_settings
from lambda_pipeline.storage.deployment import claim
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.migrate import upgrade
from lambda_pipeline.stream.client import KafkaConnection

HISTORY_START = date(2025, 1, 1)
EMPTY = "bench_empty"  # the template with the newest schema and the city's catalogue, and not a row


@dataclass(frozen=True)
class Database:
    """A database on the embedded server."""

    postgres: EmbeddedPostgres
    name: str

    def url(self, user: str = "postgres") -> str:
        """Its libpq address as "postgres", "lambda_writer" or "lambda_reader"."""
        return self.postgres.url(self.name, user)

    def connect(self, user: str = "postgres") -> psycopg.Connection:
        """A connection on which each statement is a transaction of its own."""
        return psycopg.connect(self.url(user), autocommit=True)


@dataclass(frozen=True)
class Servers:
    """A running PostgreSQL and Kafka, and the city that every database of theirs belongs to."""

    home: Home
    postgres: EmbeddedPostgres
    broker: EmbeddedKafka
    city: City
    catalogue: Path
    _numbers: Iterator[int]

    @property
    def connection(self) -> KafkaConnection:
        """How to reach the broker."""
        return KafkaConnection(self.broker.bootstrap_servers)

    def name(self, what: str) -> str:
        """A name that nothing had before: of a topic, a group, a database."""
        return f"{what}_{next(self._numbers)}"

    @contextmanager
    def database(self, template: str = EMPTY) -> Iterator[Database]:
        """A fresh copy of a template, dropped afterwards. It starts from a checkpoint, so that all runs do."""
        made = self.make_database(self.name("bench"), template)
        try:
            yield made
        finally:
            self.drop_database(made.name)

    def make_database(self, name: str, template: str = EMPTY) -> Database:
        """A copy of a template, to be dropped by `drop_database`, or with the servers."""
        self._administer("create database {} template {} strategy file_copy", name, template)
        self._administer("checkpoint")
        return Database(self.postgres, name)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        self._administer("drop database if exists {} with (force)", name)

    def _administer(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def running_servers(city: City) -> Iterator[Servers]:
    """Start both servers with the product's own settings (fsync on), and remove every trace of them afterwards."""
    with running_postgres() as (home, postgres):
        broker = EmbeddedKafka(home, load_settings(None).cache)
        try:
            broker.start()
            catalogue = home.path / "city.toml"
            write_catalogue(city, catalogue)
            make_template(postgres, city)
            yield Servers(home, postgres, broker, city, catalogue, count(1))
        finally:
            broker.stop(force=True)


@contextmanager
def running_postgres(keep: Path | None = None) -> Iterator[tuple[Home, EmbeddedPostgres]]:
    """Start PostgreSQL alone with the product's own settings: in a folder that is kept, or in one that is removed."""
    for ending in (signal.SIGTERM, signal.SIGHUP):  # like Ctrl-C: through every `finally`
        signal.signal(ending, signal.default_int_handler)
    folder = keep if keep is not None else Path(tempfile.mkdtemp(prefix="lambda-bench-"))
    try:
        home = Home(folder)
        postgres = EmbeddedPostgres(home)
        with home.lock("benchmarks"):
            try:
                postgres.start()
                yield home, postgres
            finally:
                postgres.stop(force=True)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def make_template(postgres: EmbeddedPostgres, city: City) -> None:
    """Make the database `EMPTY` on a new server, and let the roles log in."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(EMPTY)))
    engine = make_engine(postgres.url(EMPTY), "benchmark", BATCH_TIMEOUTS)
    try:
        upgrade(engine)
        with transaction(engine) as database:
            claim(database, city, HISTORY_START, timedelta(minutes=3))
    finally:
        engine.dispose()
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("alter role lambda_writer login; alter role lambda_reader login")
