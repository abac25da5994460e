"""Two stacks on one folder, and ports that others have: a clear error, or another port, and never a second writer."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.simulator import SimulatorServer, serve
from lambda_pipeline_tests.cli.commands import SETTINGS, run
from lambda_pipeline_tests.faults.polling import poll_from, says
from lambda_pipeline_tests.faults.ports import taken_port
from lambda_pipeline_tests.faults.stage import SEED, Platform, size
from lambda_pipeline_tests.processes import Daemon, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture
def simulator(jakarta: City) -> Iterator[SimulatorServer]:
    made = serve(jakarta, seed=SEED)
    yield made
    made.close()


def test_a_second_stack_on_a_folder_is_refused_and_told_who_has_it(
    open_folder: Path, jars_cache: Path, simulator: SimulatorServer
) -> None:
    settings = poll_from(simulator.url, simulator.url) | {
        "LAMBDA_HOME": str(open_folder / "home"), "LAMBDA_CACHE": str(jars_cache)
    }  # fmt: skip
    first = Daemon(["ingest"], machine() | settings, open_folder, "first")
    try:
        says(first, "polling 10 locations")
        for command in (["up"], ["demo"], ["demo", "--once"])[: size(1, 3)]:
            refused = run(open_folder, *command, settings=settings)
            assert refused.code == 1, refused.text
            holder = f"is in use by pid {first.pid} (lambda-pipeline ingest, since "
            assert refused.err.startswith(f"error: The data folder {open_folder / 'home'} {holder}"), refused.text
            assert "LAMBDA_HOME" in refused.err
            assert "Traceback" not in refused.text
        second = run(open_folder, "ingest", settings=settings)  # it would use the servers that run
        assert second.code == 1
        assert f"spool.db is in use by another ingest (pid {first.pid})" in second.err
        assert "Traceback" not in second.text
        assert first.alive
        assert first.stop(30) == 0
    finally:
        first.kill()


@pytest.mark.full
def test_a_folder_is_free_again_when_its_holder_was_killed(
    open_folder: Path, jars_cache: Path, simulator: SimulatorServer
) -> None:
    settings = poll_from(simulator.url, simulator.url) | {
        "LAMBDA_HOME": str(open_folder / "home"), "LAMBDA_CACHE": str(jars_cache)
    }  # fmt: skip
    for name in ("first", "second"):
        one = Daemon(["ingest"], machine() | settings, open_folder, name)
        try:
            says(one, "polling 10 locations")
        finally:
            one.kill()


def machine() -> dict[str, str]:
    """This machine's environment without settings of ours."""
    return {name: value for name, value in os.environ.items() if name not in SETTINGS}


def test_a_taken_port_of_the_dashboard_is_named_with_its_setting(tmp_path: Path, platform: Platform) -> None:
    with taken_port() as port:
        settings = {"DATABASE_URL": platform.url, "LAMBDA_DASHBOARD_PORT": str(port)}
        refused = run(tmp_path, "dashboard", settings=settings)
    assert refused.code == 1
    assert refused.err.startswith(f"error: Port {port} on 127.0.0.1 is taken by another program."), refused.text
    assert "LAMBDA_DASHBOARD_PORT" in refused.err
    assert "Traceback" not in refused.text


def test_a_killed_dashboard_is_back_on_its_port(platform: Platform) -> None:
    with taken_port() as port:
        pass  # nobody's any more
    platform.environment |= {"LAMBDA_READER_DATABASE_URL": platform.url, "LAMBDA_DASHBOARD_PORT": str(port)}
    waits = []
    for _ in range(2):
        page = platform.start("dashboard")
        waits.append(wait_for(lambda: _answers(port), "the dashboard answers"))
        page.kill()
        assert not _answers(port)
    platform.recovered("dashboard killed, from its start", *waits)


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).ok
    except requests.ConnectionError:
        return False
