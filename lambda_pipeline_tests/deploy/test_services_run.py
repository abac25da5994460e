"""What docker-compose.yml would start, started: every service of ours by its own command, variables and health check.

No container engine is needed, so the images' own parts are not tried here; PostgreSQL and Kafka are the embedded ones,
with compose's settings, and PostgreSQL asks for the passwords.
"""

import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import requests

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.simulator import SimulatorServer, serve
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline_tests.deploy.composition import SECRETS, read_services
from lambda_pipeline_tests.deploy.machine import Machine, kafka_server, postgres_server
from lambda_pipeline_tests.processes import wait_for

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def simulator(jakarta: City) -> Iterator[SimulatorServer]:
    """Both APIs, at an address that no container would take for its own."""
    server = serve(jakarta, seed=11, host="127.0.0.2")
    yield server
    server.close()


@pytest.fixture(scope="module")
def machine(simulator: SimulatorServer, jars_cache: Path) -> Iterator[Machine]:
    """All services, healthy, with one more speed daemon."""
    variables = SECRETS | {
        "LAMBDA_TOMTOM_URL": simulator.url, "LAMBDA_AQICN_URL": simulator.url, "LAMBDA_POLL_INTERVAL": "1",
        "LAMBDA_TOMTOM_DAILY_QUOTA": "1000000000",
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="lambda-compose-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        made = Machine(read_services(folder, variables), folder, os.getpid())
        home = Home(folder / "servers")
        with postgres_server(made, home), kafka_server(made, home, jars_cache):
            try:
                made.start(name for name, service in made.services.items() if service.is_ours)
                made.launch("speed", replica=2)
                made.start([])
                yield made
            finally:
                made.kill()


def address(machine: Machine, service: str, variable: str) -> str:
    """A variable as the running service sees it."""
    return machine.running[service].environment[variable]


def test_what_the_simulator_is_polled_for_is_served_to_the_dashboard(machine: Machine) -> None:
    serving = ServingLayer.open(address(machine, "dashboard", "LAMBDA_READER_DATABASE_URL"), "test")
    wait_for(lambda: serving.get_combined_heatmap_data()["aqi_value"].notna().any(), "an observation is served")
