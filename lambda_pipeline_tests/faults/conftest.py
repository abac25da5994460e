"""Platforms to be ill-treated: on the servers that all tests share, and on servers of a module's own."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.storage.deployment import claim
from lambda_pipeline.storage.engine import make_engine, transaction
from lambda_pipeline.storage.migrate import upgrade
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import ensure_topic
from lambda_pipeline_tests.faults.stage import FULL, SEED, Platform, closing
from lambda_pipeline_tests.servers import HISTORY_START, POLL_INTERVAL

_REPORT = "faults report"
_numbers = itertools.count(1)


@dataclass
class Servers:
    """A PostgreSQL and a Kafka that a test may stop, kill and freeze."""

    postgres: EmbeddedPostgres
    kafka: EmbeddedKafka

    def heal(self) -> None:
        """Both run again."""
        self.postgres.start()
        self.kafka.start(progress=False)


@pytest.fixture(scope="session")
def shared(postgres: EmbeddedPostgres, kafka: KafkaConnection) -> tuple[EmbeddedPostgres, KafkaConnection]:
    """The servers that all tests share, and that stay as they are."""
    return postgres, kafka


@pytest.fixture(scope="module")
def own_servers(jars_cache: Path) -> Iterator[Servers]:
    """Servers of the module's own, with the settings of a real installation."""
    # Not below pytest's own folder, for the reason that `server_home` names.
    with tempfile.TemporaryDirectory(prefix="lambda-faults-", ignore_cleanup_errors=True) as folder:
        home = Home(Path(folder))
        servers = Servers(EmbeddedPostgres(home), EmbeddedKafka(home, jars_cache))
        servers.heal()
        try:
            yield servers
        finally:
            servers.kafka.stop(force=True)
            servers.postgres.stop(force=True)


@pytest.fixture
def reports(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Lines for the end of the run: they travel with the test's report, whichever process ran it."""
    lines: list[str] = []
    yield lines
    request.node.user_properties.extend((_REPORT, line) for line in lines)


@pytest.fixture
def make_platform(jakarta: City, topic_name: str, tmp_path: Path, reports: list[str]) -> Callable[..., Platform]:
    """Makes a platform on servers: a claimed database, a database for Dagster, a topic of three partitions."""

    def make(postgres: EmbeddedPostgres, connection: KafkaConnection) -> Platform:
        names = [f"faults_{next(_numbers)}" for _ in range(2)]
        with psycopg.connect(postgres.url(), autocommit=True) as admin:
            for name in names:
                admin.execute(f"create database {name}")  # type: ignore[call-overload]
        engine = make_engine(postgres.url(names[0]), "owner")
        upgrade(engine)
        with transaction(engine) as database:
            claim(database, jakarta, HISTORY_START, POLL_INTERVAL)
        engine.dispose()
        with psycopg.connect(postgres.url(), autocommit=True) as admin:
            admin.execute("alter role lambda_writer login")
        ensure_topic(connection, topic_name, 4)
        dagster = postgres.url(names[1]).replace("postgresql://", "postgresql+psycopg2://", 1)
        places = [place.name for place in jakarta.locations]
        url = postgres.url(names[0], "lambda_writer")
        return Platform(connection, topic_name, url, tmp_path, places, dagster, reports)

    return make


@pytest.fixture
def platform(
    shared: tuple[EmbeddedPostgres, KafkaConnection], make_platform: Callable[..., Platform]
) -> Iterator[Platform]:
    """A platform on the shared servers."""
    with closing(make_platform(*shared)) as made:
        yield made


@pytest.fixture
def own_platform(own_servers: Servers, make_platform: Callable[..., Platform]) -> Iterator[Platform]:
    """A platform on the module's own servers, which run again after each test."""
    own_servers.heal()
    connection = KafkaConnection(own_servers.kafka.bootstrap_servers)
    with closing(make_platform(own_servers.postgres, connection)) as made:
        yield made
        own_servers.heal()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the faults cost: seed, size and recoveries."""
    done = (report for found in terminalreporter.stats.values() for report in found)
    ended = (report for report in done if getattr(report, "when", "") == "teardown")
    lines = [str(line) for report in ended for name, line in report.user_properties if name == _REPORT]
    if lines:
        terminalreporter.section(f"faults, {'full' if FULL else 'short'}, seed {SEED}")
        for line in lines:
            terminalreporter.write_line(line)
