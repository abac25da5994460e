"""Platforms to be ill-treated: on the servers that all tests share, and on servers of a module's own."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.local.simulator import serve
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.faults.polling import poll_from
from lambda_pipeline_tests.faults.stage import (
    FULL,
    SEED,
    Platform,
    Reports,
    Servers,
    closing,
    prepare_platform,
    recovery_table,
)

_REPORT, _RECOVERY = "faults report", "faults recovery"
_numbers = itertools.count(1)
MakePlatform = Callable[..., Platform]


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
def open_folder() -> Iterator[Path]:
    """For a data folder: not below pytest's own, for the reason that `server_home` names."""
    with tempfile.TemporaryDirectory(prefix="lambda-faults-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def reports(request: pytest.FixtureRequest) -> Iterator[Reports]:
    """For the end of the run: what is in it travels with the test's report, whichever process ran it."""
    made = Reports()
    yield made
    request.node.user_properties.extend((_REPORT, line) for line in made.lines)
    request.node.user_properties.extend((_RECOVERY, recovery) for recovery in made.recoveries)


@pytest.fixture
def make_platform(jakarta: City, topic_name: str, tmp_path: Path, reports: Reports) -> MakePlatform:
    """Makes a platform on servers, in databases of its own unless they are named."""

    def make(postgres: EmbeddedPostgres, connection: KafkaConnection, names: tuple[str, str] | None = None) -> Platform:
        names = names or (f"faults_{next(_numbers)}", f"faults_{next(_numbers)}")
        return prepare_platform(postgres, connection, jakarta, names, topic_name, tmp_path, reports)

    return make


@pytest.fixture
def platform(shared: tuple[EmbeddedPostgres, KafkaConnection], make_platform: MakePlatform) -> Iterator[Platform]:
    """A platform on the shared servers."""
    with closing(make_platform(*shared)) as made:
        yield made


@pytest.fixture
def own_platform(own_servers: Servers, make_platform: MakePlatform) -> Iterator[Platform]:
    """A platform on the module's own servers, which run again after each test."""
    own_servers.heal()
    connection = KafkaConnection(own_servers.kafka.bootstrap_servers)
    with closing(make_platform(own_servers.postgres, connection)) as made:
        yield made
        own_servers.heal()


@pytest.fixture
def polled(own_platform: Platform, jakarta: City) -> Iterator[Platform]:
    """The platform on its own servers, with simulated APIs that are asked every second."""
    simulator = serve(jakarta, seed=SEED)
    own_platform.environment |= poll_from(simulator.url, simulator.url)
    yield own_platform
    simulator.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is tried in `make test-faults` only, rather than show it as skipped."""
    if FULL:
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the faults cost: seed, size and recoveries."""
    done = [report for found in terminalreporter.stats.values() for report in found]
    ended = [report for report in done if getattr(report, "when", "") == "teardown"]
    told = [(name, value) for report in ended for name, value in report.user_properties]
    lines = [str(value) for name, value in told if name == _REPORT]
    recoveries: dict[str, list[float]] = {}
    for fault, seconds in (value for name, value in told if name == _RECOVERY):
        recoveries.setdefault(str(fault), []).append(float(seconds))
    if not lines and not recoveries:
        return
    terminalreporter.section(f"faults, {'full' if FULL else 'short'}, seed {SEED}")
    for line in lines:
        terminalreporter.write_line(line)
    for line in recovery_table(recoveries):
        terminalreporter.write_line(line)
