"""Servers and addresses: the embedded PostgreSQL and Kafka, or whichever external ones the settings name.

No other code knows which way the platform runs: whoever comes after this is handed addresses.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.errors import SettingsError
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.jars import ensure_jars
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.local.supervisor import supervised
from lambda_pipeline.settings import Settings
from lambda_pipeline.storage.deployment import claim, require_city, settle_origin
from lambda_pipeline.storage.engine import UPGRADE_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.legacy_rows import Progress, Takeover
from lambda_pipeline.storage.logins import READER, WRITER, give_logins
from lambda_pipeline.storage.migrate import Upgrade, require_newest, upgrade
from lambda_pipeline.stream.client import KafkaConnection

DATABASE, DAGSTER_DATABASE = "lambda", "dagster"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is. `kafka` is None for a command that needs none. The URLs may hold passwords."""

    owner_url: str
    writer_url: str
    reader_url: str
    dagster_url: str | None
    kafka: str | None
    kafka_security: dict[str, Any] = field(default_factory=dict, repr=False)

    def environment(self) -> dict[str, str]:
        """The settings that hand these addresses to another process of ours."""
        found = {
            "DATABASE_URL": self.writer_url,
            "LAMBDA_READER_DATABASE_URL": self.reader_url,
            "LAMBDA_DAGSTER_DATABASE_URL": self.dagster_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka,
        }
        return {name: value for name, value in found.items() if value is not None}

    def connection(self) -> KafkaConnection:
        """How to reach Kafka. Raises SettingsError for a command that asked for none."""
        if self.kafka is None:
            raise SettingsError("this command was started without Kafka.")
        return KafkaConnection(self.kafka, self.kafka_security)


class Stack:
    """The servers of one deployment, as its settings describe them."""

    def __init__(self, settings: Settings, home: Home, *, kafka: bool = True) -> None:
        """Raises SettingsError where what is set for Kafka does not fit together."""
        self.settings = settings
        self.home = home
        self._kafka_security = settings.kafka_security() if kafka else {}
        self.wants_kafka = kafka
        self.is_started_here = False  # whether this command has started the embedded servers
        self.postgres = None if settings.database_url else EmbeddedPostgres(home)
        self.broker = (
            EmbeddedKafka(home, settings.cache) if kafka and settings.kafka_bootstrap_servers is None else None
        )

    @property
    def servers(self) -> list[EmbeddedPostgres | EmbeddedKafka]:
        """The embedded servers, in the order of their start."""
        return [server for server in (self.postgres, self.broker) if server is not None]

    def has_database(self) -> bool:
        """Whether there is a database to connect to, or a cluster to start; False before the first start."""
        return self.postgres is None or self.postgres.data.exists()

    def is_running(self) -> bool:
        """Whether every embedded server that is needed answers."""
        return all(server.is_running() for server in self.servers)

    def addresses(self) -> Addresses:
        """Where the servers are; the embedded ones must be running, or have run."""
        settings = self.settings
        kafka = None
        if self.wants_kafka:
            kafka = self.broker.bootstrap_servers if self.broker else settings.kafka_bootstrap_servers
        if self.postgres is not None:
            dagster = self.postgres.url(DAGSTER_DATABASE).replace("postgresql://", "postgresql+psycopg2://", 1)
            return Addresses(
                owner_url=self.postgres.url(DATABASE),
                writer_url=self.postgres.url(DATABASE, WRITER),
                reader_url=self.postgres.url(DATABASE, READER),
                dagster_url=dagster,
                kafka=kafka,
                kafka_security=self._kafka_security,
            )
        if settings.database_url is None:
            raise SettingsError("DATABASE_URL is not set.")
        writer = settings.database_url.get_secret_value()
        owner, reader = settings.owner_database_url, settings.reader_database_url
        dagster_secret = settings.dagster_database_url
        return Addresses(
            owner_url=owner.get_secret_value() if owner else writer,
            writer_url=writer,
            reader_url=reader.get_secret_value() if reader else writer,
            dagster_url=dagster_secret.get_secret_value() if dagster_secret else None,
            kafka=kafka,
            kafka_security=self._kafka_security,
        )

    def prepare(self, poll_interval: timedelta | None = None) -> None:
        """Bring the database to a usable state: the embedded one is made and upgraded, an external one is checked.

        Then the city's catalogue is brought in. One of the first system's databases is refused: to take it over is
        for `db upgrade` alone. Raises SchemaError, DeploymentMismatchError.
        """
        if self.postgres is not None:
            self._upgrade()
        engine = make_engine(self.addresses().writer_url, "prepare")
        try:
            if self.postgres is None:
                require_newest(engine)
            self._claim(engine, self.settings.city, poll_interval)
        finally:
            engine.dispose()

    def make_ready(self) -> None:
        """Prepare the database of servers that this command has started; else only check it. Raises what those do."""
        if self.is_started_here:
            self.prepare()
        else:
            self.check()

    def check(self) -> None:
        """Change nothing, and raise SchemaError or DeploymentMismatchError where this database is not ours to use."""
        engine = make_engine(self.addresses().writer_url, "check")
        try:
            require_newest(engine)
            with transaction(engine, read_only=True) as connection:
                require_city(connection, self.settings.city)
        finally:
            engine.dispose()

    def fetch_jars(self) -> None:
        """Download what the embedded Kafka needs, with a progress bar; nothing to do when it is there."""
        if self.broker is not None:
            ensure_jars(self.broker.jars_cache)

    def settle_origin(self, *, is_simulated: bool) -> None:
        """Keep simulated and live data apart. Raises DeploymentMismatchError where the database holds the other."""
        engine = make_engine(self.addresses().writer_url, "prepare")
        try:
            with transaction(engine) as connection:
                settle_origin(connection, is_simulated=is_simulated)
        finally:
            engine.dispose()

    def upgrade(self, on_progress: Progress, *, dry_run: bool = False) -> Upgrade:
        """Bring the database to the newest schema as its owner, and a database of the first system with it.

        With `dry_run` all of it is done in a transaction that is undone. Raises SchemaError, DeploymentMismatchError,
        CatalogueError.
        """
        takeover = Takeover(self.settings.city, self.settings.history_start, on_progress)
        return self._upgrade(takeover, dry_run=dry_run)

    def give_logins(self) -> list[str]:
        """Let writer, reader and Dagster's user log in with the passwords of their addresses; returns their names.

        For external servers: the embedded one knows no passwords. Raises SettingsError.
        """
        addresses = self.addresses()
        owner = make_engine(addresses.owner_url, "logins")
        try:
            return give_logins(owner, addresses.writer_url, addresses.reader_url, addresses.dagster_url)
        finally:
            owner.dispose()

    def make_databases(self) -> None:
        """The embedded server's databases, where they are missing; those of an external one are its operator's."""
        if self.postgres is None:
            return
        with psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            found = {row[0] for row in connection.execute("select datname from pg_database")}
            for name in (DATABASE, DAGSTER_DATABASE):
                if name not in found:
                    connection.execute(f'create database "{name}"')

    def let_roles_in(self) -> None:
        """Let writer and reader log in to the embedded server, which knows no passwords (`give_logins` otherwise)."""
        if self.postgres is None:
            return
        with psycopg.connect(self.postgres.url(DATABASE), autocommit=True) as connection:
            for role in (WRITER, READER):  # the socket lets only the server's own user and root in
                connection.execute(f"alter role {role} login")

    def _upgrade(self, takeover: Takeover | None = None, *, dry_run: bool = False) -> Upgrade:
        self.make_databases()
        owner = make_engine(self.addresses().owner_url, "upgrade", UPGRADE_TIMEOUTS)
        try:
            done = upgrade(owner, takeover, dry_run=dry_run)
        finally:
            owner.dispose()
        if not dry_run:
            self.let_roles_in()
        return done

    def _claim(self, engine: sa.Engine, city: City, poll_interval: timedelta | None) -> None:
        with transaction(engine) as connection:
            claim(connection, city, self.settings.history_start, poll_interval)


@contextmanager
def running_stack(settings: Settings, what: str, *, kafka: bool = True, prepared: bool = True) -> Iterator[Stack]:
    """The stack for as long as a command runs: the running one as it is, or one started for the while and prepared.

    Without `prepared` the database is left as it is found, for the command that upgrades it, and for the daemons, which
    wait for it (`make_ready`).
    Raises EmbeddedServerError where another command holds the home without the servers that this one needs.
    """
    home = Home(settings.home)
    stack = Stack(settings, home, kafka=kafka)
    if stack.is_running():
        if prepared:
            stack.make_ready()
        yield stack
        return
    with home.lock(what), supervised(home, stack.servers) as supervisor:
        supervisor.raise_if_stopped()
        # From here on Ctrl-C interrupts the command, and the servers stop after it.
        for ending in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ending, signal.default_int_handler)
        stack.is_started_here = True
        if prepared:
            stack.make_ready()
        yield stack
