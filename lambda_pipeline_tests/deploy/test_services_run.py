"""What docker-compose.yml would start, started: every service of ours by its own command, variables and health check.

No container engine is needed, so the images' own parts are not tried here; PostgreSQL and Kafka are the embedded ones,
with compose's settings, and PostgreSQL asks for the passwords.
"""

import os
import re
import shlex
import socket
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import requests
import urllib3
from websockets.sync.client import connect

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.simulator import SimulatorServer, serve
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline_tests.deploy.composition import REPOSITORY, SECRETS, read_services
from lambda_pipeline_tests.deploy.machine import Machine, kafka_server, postgres_server
from lambda_pipeline_tests.deploy.proxy import DAGSTER, DASHBOARD, LOGIN, PASSWORD, Proxy, running_proxy
from lambda_pipeline_tests.processes import wait_for

pytestmark = pytest.mark.integration
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"docker compose (?:exec|run --rm) ([\w-]+) (lambda-pipeline .*)$", OPERATIONS, re.MULTILINE)


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
                codes = made.stop()
                assert set(codes.values()) <= {0, -15}, codes  # in order, and each within its time
            finally:
                made.kill()


@pytest.fixture(scope="module")
def proxy(machine: Machine) -> Iterator[Proxy]:
    """Caddy in front of them."""
    with running_proxy(machine) as running:
        yield running


def address(machine: Machine, service: str, variable: str) -> str:
    """A variable as the running service sees it."""
    return machine.running[service].environment[variable]


def wait_until_served(machine: Machine) -> ServingLayer:
    """The dashboard's own view of the database, once it holds something that was polled."""
    serving = ServingLayer.open(address(machine, "dashboard", "LAMBDA_READER_DATABASE_URL"), "test")
    wait_for(lambda: serving.get_combined_heatmap_data()["aqi_value"].notna().any(), "an observation is served")
    return serving


def ask_dagster(machine: Machine, query: str, **variables: object) -> dict[str, Any]:
    """A question to the webserver, as its own pages ask it."""
    url = f"http://{machine.addresses['dagster-web']}:3000/graphql"
    answer = requests.post(url, json={"query": query, "variables": variables}, timeout=30)
    answer.raise_for_status()
    assert "errors" not in answer.json(), answer.text
    return dict(answer.json()["data"])


# ---------------------------------------------------------------- the services


def test_what_the_apis_say_is_served_to_the_dashboard(machine: Machine) -> None:
    serving = wait_until_served(machine)
    served = serving.get_combined_heatmap_data()
    assert len(served) == 10
    assert serving.get_freshness().set_index("layer")["age_seconds"]["speed"] < 60


def test_a_run_goes_through_webserver_daemon_and_code_server(machine: Machine) -> None:
    serving = wait_until_served(machine)
    today = datetime.now(ZoneInfo(serving.city().timezone)).date()
    launched = ask_dagster(
        machine,
        """mutation($run: ExecutionParams!) { launchPipelineExecution(executionParams: $run) {
             __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
        run={
            "selector": {
                "repositoryLocationName": "lambda_pipeline",
                "repositoryName": "__repository__",
                "pipelineName": "batch_layer",
            },
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": today.isoformat()}]},
        },
    )["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched

    def status() -> str:
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return str(ask_dagster(machine, query, id=launched["run"]["runId"])["runOrError"]["status"])

    wait_for(lambda: status() in ("SUCCESS", "FAILURE"), "the run ends", interval=0.5)
    assert status() == "SUCCESS", machine.running["dagster-code"].log
    assert not serving.get_hourly(today, today + timedelta(days=1)).empty


@pytest.mark.parametrize(("service", "command"), COMMANDS)
def test_the_commands_of_the_documents_run(machine: Machine, service: str, command: str) -> None:
    wait_until_served(machine)
    if command == "lambda-pipeline status":  # Dagster's daemon signs that it lives some time after its start
        wait_for(lambda: machine.execute(service, *shlex.split(command)).returncode == 0, "the platform is healthy")
    done = machine.execute(service, *shlex.split(command))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_user_may_only_do_what_is_its_own(machine: Machine) -> None:
    reader = address(machine, "dashboard", "LAMBDA_READER_DATABASE_URL")
    writer = address(machine, "speed", "DATABASE_URL")
    dagster = address(machine, "dagster-web", "LAMBDA_DAGSTER_DATABASE_URL").replace("+psycopg2", "")
    with psycopg.connect(reader) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("delete from raw_data")
    with psycopg.connect(writer) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("drop table raw_data")
    for stranger in (f"{reader.rpartition('/')[0]}/dagster", f"{dagster.rpartition('/')[0]}/lambda"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(stranger)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(reader.replace(SECRETS["READER_PASSWORD"], "guessed"))


@pytest.mark.parametrize(("service", "port"), [("ingest", 9101), ("speed", 9102)])
def test_a_daemon_is_watched_from_the_network_that_it_is_in(machine: Machine, service: str, port: int) -> None:
    place = f"http://{machine.addresses[service]}:{port}"
    assert requests.get(f"{place}/healthz", timeout=10).json()["status"] == "ok"
    assert f'service="{service}"' in requests.get(f"{place}/metrics", timeout=10).text


# ---------------------------------------------------------------- the profile prod


def test_the_dashboard_is_served_over_tls_with_its_websocket(proxy: Proxy) -> None:
    page = proxy.get(DASHBOARD, "/")
    assert (page.status, "<title>" in page.data.decode()) == (200, True)
    assert page.headers["Strict-Transport-Security"].startswith("max-age=")
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'self'" in page.headers["Content-Security-Policy"]
    assert "Server" not in page.headers
    stream, origin = f"wss://{DASHBOARD}/_stcore/stream", f"https://{DASHBOARD}"
    wire = socket.create_connection(("127.0.0.1", proxy.port), timeout=60)
    with connect(
        stream, sock=wire, ssl=proxy.context, origin=origin, subprotocols=["streamlit"], open_timeout=60
    ) as opened:
        assert opened.response is not None
        assert opened.response.status_code == 101


def test_dagster_asks_for_the_login(proxy: Proxy) -> None:
    assert proxy.get(DAGSTER, "/server_info").status == 401
    for password, status in (("guessed", 401), (PASSWORD, 200)):
        headers = urllib3.make_headers(basic_auth=f"{LOGIN}:{password}")
        assert proxy.get(DAGSTER, "/server_info", headers).status == status
