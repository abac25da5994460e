"""`lambda-pipeline status` on the real servers: what is wrong first, also while one of them is away; bounded time."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dagster._core.instance import DagsterInstance
from dagster._daemon.types import DaemonHeartbeat
from dagster._utils.error import SerializableErrorInfo

from lambda_pipeline.batch.raw_data import advance_raw_data
from lambda_pipeline.local.home import free_port
from lambda_pipeline.storage.daemons import Heartbeat
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.migrate import newest_version
from lambda_pipeline_tests.cli.commands import REPOSITORY, Result
from lambda_pipeline_tests.integration.dagster_runs import dagster_url
from lambda_pipeline_tests.integration.observations import seen
from lambda_pipeline_tests.integration.speed_daemons import Feed
from lambda_pipeline_tests.processes import wait_for

pytestmark = pytest.mark.integration

BOUND = 15.0  # seconds, on a machine that is busy with other tests
SECRET = "verysecret"


@dataclass
class Deployment:
    """A deployment and whoever looks at it."""

    feed: Feed
    call: Callable[..., Result]
    settings: dict[str, str]

    def status(self, **more: str) -> tuple[int, dict[str, Any]]:
        """Exit code and report."""
        result = self.call("status", "--json", **(self.settings | more))
        assert "Traceback" not in result.text
        assert SECRET not in result.text
        return result.code, json.loads(result.out)

    def problems(self, **more: str) -> list[str]:
        """What is wrong."""
        return [problem["about"] for problem in self.status(**more)[1]["problems"]]

    def text(self, **more: str) -> str:
        """The screen."""
        return self.call("status", **(self.settings | more)).out


@pytest.fixture
def deployment(feed: Feed, call: Callable[..., Result], tmp_path: Path) -> Deployment:
    settings = {
        "DATABASE_URL": feed.database.url(),
        "LAMBDA_READER_DATABASE_URL": feed.database.url("lambda_reader"),
        "KAFKA_BOOTSTRAP_SERVERS": feed.connection.bootstrap_servers,
        "KAFKA_TOPIC": feed.name,
        "LAMBDA_HOME": str(tmp_path / "home"),
    }
    return Deployment(feed, call, settings)


@pytest.fixture
def alive(deployment: Deployment) -> Iterator[Deployment]:
    """With an ingest and a speed daemon that sign."""
    stop = threading.Event()
    with ExitStack() as beating:
        for role in ("ingest", "speed"):
            beating.enter_context(Heartbeat(deployment.feed.database.url(), role, dict, stop))  # type: ignore[arg-type]
        wait_for(lambda: deployment.feed.count("daemons") == 2, "both have signed")
        yield deployment


def now_seen(minutes_ago: float, aqi: int = 50) -> Any:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=minutes_ago)
    return seen(0, aqi=aqi, hour=at)


def test_a_platform_on_which_all_is_well_is_exit_code_0(alive: Deployment) -> None:
    alive.feed.start()
    alive.feed.produce(now_seen(1))
    alive.feed.wait_for(1)
    code, report = alive.status()
    assert report["problems"] == []
    assert (code, report["health"]) == (0, "healthy")
    assert report["lag"]["speed_records"] == 0
    assert report["lag"]["batch_records"] == 1
    assert {one["role"]: one["state"] for one in report["daemons"]} == {"ingest": "alive", "speed": "alive"}
    assert report["database"]["schema_version"] == newest_version()
    assert report["database"]["bytes"] > 1_000_000
    assert report["layers"][0]["observations"] == 1
    text = alive.text()
    assert text.startswith("All is well.")
    assert "0 records wait for the speed layer, 1 for raw_data" in text
    assert re.search(r"^  speed +alive since 20", text, re.MULTILINE)


def test_what_is_wrong_comes_first_with_what_to_do(deployment: Deployment) -> None:
    code, report = deployment.status()
    assert (code, report["health"]) == (1, "attention")
    assert [problem["about"] for problem in report["problems"]] == ["ingest_away", "speed_away"]
    lines = deployment.text().splitlines()
    assert lines[0] == "! no ingest has given a sign of life within a day."
    assert lines[1].startswith("  Start it: `lambda-pipeline up`, or `lambda-pipeline ingest`")


def test_records_that_wait_for_a_layer_are_its_lag(alive: Deployment) -> None:
    running = alive.feed.start()
    alive.feed.produce(now_seen(3), now_seen(2))
    alive.feed.wait_for(2)
    alive.feed.stop([running])
    alive.feed.produce(now_seen(1), partition=1)
    alive.feed.produce(b"{", b"{")
    advance_raw_data(alive.feed.database.writer, alive.feed.connection, alive.feed.name)
    lag = alive.status()[1]["lag"]
    assert (lag["speed_records"], lag["batch_records"]) == (3, 0)
    assert [one["speed_records"] for one in lag["partitions"]] == [2, 1]
    alive.feed.database.rows("update stream_offsets set updated_at = now() - interval '2 minutes' returning 1")
    assert alive.problems() == ["speed_stands_still", "dead_letters"]


def test_dead_letters_of_a_day_need_attention_until_they_are_sent_again(alive: Deployment) -> None:
    alive.feed.start()
    alive.feed.produce(now_seen(1), b"{", b"[")
    alive.feed.wait_for(2, "dead_letters")
    code, report = alive.status()
    assert (code, alive.problems()) == (1, ["dead_letters"])
    assert report["dead_letters"] == {"open": 2, "open_of_last_24_hours": 2, "retried": 0}
    alive.feed.database.rows("update dead_letters set retried_at = now() where id = 1 returning 1")
    alive.feed.database.rows(
        "update dead_letters set created_at = now() - interval '25 hours' where id = 2 returning 1"
    )
    code, report = alive.status()
    assert (code, report["dead_letters"]) == (0, {"open": 1, "open_of_last_24_hours": 0, "retried": 1})


def test_hours_that_wait_for_long_are_the_batch_layers(alive: Deployment) -> None:
    alive.feed.start()
    alive.feed.produce(now_seen(5 * 60), now_seen(1))
    alive.feed.wait_for(2)
    code, report = alive.status()
    assert (code, [problem["about"] for problem in report["problems"]]) == (1, ["batch_behind"])
    assert [day["stale_hours"] for day in report["waiting_days"]] == [1]
    with transaction(alive.feed.database.owner) as connection:  # the sensor has just seen it
        connection.exec_driver_sql(
            "insert into catch_up select date, 1, 'p', now(), now(), 0, null, null from realtime_hourly "
            "where hour_start < now() - interval '3 hours'"
        )
    assert alive.problems() == []


# ---------------------------------------------------------------- while something is away


def measured(deployment: Deployment, **more: str) -> tuple[int, dict[str, Any]]:
    began = time.monotonic()
    found = deployment.status(**more)
    assert time.monotonic() - began < BOUND
    return found


def test_without_kafka_the_rest_is_shown_and_it_is_exit_code_2(alive: Deployment) -> None:
    alive.feed.start()
    alive.feed.produce(now_seen(1))
    alive.feed.wait_for(1)
    code, report = measured(alive, KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    assert (code, report["health"], report["lag"]) == (2, "unknown", None)
    assert [problem["about"] for problem in report["problems"]] == ["kafka_away"]
    assert "KAFKA_BOOTSTRAP_SERVERS" in report["problems"][0]["action"]
    assert report["layers"][0]["observations"] == 1


def test_without_postgresql_the_rest_is_shown_and_it_is_exit_code_2(alive: Deployment) -> None:
    away = f"postgresql://somebody:{SECRET}@127.0.0.1:{free_port()}/lambda"
    code, report = measured(alive, DATABASE_URL=away, LAMBDA_READER_DATABASE_URL=away)
    assert (code, report["database"], report["layers"]) == (2, None, [])
    assert [problem["about"] for problem in report["problems"]] == ["postgresql_away"]
    assert report["servers"]["kafka"]["answers"]
    assert report["disk"]["free_bytes"] > 0
    assert "does not answer" in alive.text(DATABASE_URL=away, LAMBDA_READER_DATABASE_URL=away)


def test_a_server_that_accepts_and_never_answers_holds_it_up_for_seconds_only(alive: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        address = f"postgresql://somebody:{SECRET}@127.0.0.1:{port}/lambda"
        code, report = measured(alive, LAMBDA_READER_DATABASE_URL=address, KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{port}")
    assert code == 2
    assert [problem["about"] for problem in report["problems"]] == ["postgresql_away", "kafka_away"]


def test_where_nothing_was_ever_started_that_is_said_and_nothing_is_made(
    call: Callable[..., Result], tmp_path: Path
) -> None:
    result = call("status")
    assert result.code == 2
    assert "! There is no database here yet." in result.out
    assert "lambda-pipeline up" in result.out
    assert not (tmp_path / ".lambda" / "postgres" / "data").exists()


# ---------------------------------------------------------------- Dagster


@pytest.fixture
def dagster_storage(alive: Deployment, dagster_template: str) -> Iterator[str]:
    """A Dagster's storage of this test's own; its name."""
    name = f"dagster_of_{alive.feed.database.name}"
    with alive.feed.database.postgres_connection() as connection:
        connection.execute(f"create database {name} template {dagster_template}")
    alive.settings["LAMBDA_DAGSTER_DATABASE_URL"] = dagster_url(alive.feed.database.postgres, name)
    yield name
    with alive.feed.database.postgres_connection() as connection:
        connection.execute(f"drop database {name} with (force)")


def test_dagsters_daemon_is_seen_by_its_own_signs(
    alive: Deployment, dagster_storage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lambda_pipeline.local.dagster_home import prepare_dagster_home

    assert alive.problems() == ["dagster_daemon_away"]
    for name, value in prepare_dagster_home(tmp_path / "d", alive.settings["LAMBDA_DAGSTER_DATABASE_URL"]).items():
        monkeypatch.setenv(name, value)
    with DagsterInstance.get() as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "one", []))
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 500, "BACKFILL", "one", None))
        code, report = alive.status()
        assert (code, report["problems"]) == (0, [])
        assert [part["name"] for part in report["dagster"]] == ["backfill", "sensor"]
        assert re.search(r"^  dagster +its daemon was last seen \d+ seconds ago", alive.text(), re.MULTILINE)
        error = SerializableErrorInfo("no code server\n", [], None)
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SCHEDULER", "one", [error]))
        (problem,) = alive.status()[1]["problems"]
        assert problem["text"] == "Dagster's scheduler: no code server."


def test_a_storage_that_is_no_dagsters_yet_is_a_daemon_that_never_lived(alive: Deployment) -> None:
    fresh = alive.feed.database.postgres.url("template1").replace("postgresql://", "postgresql+psycopg2://", 1)
    assert alive.problems(LAMBDA_DAGSTER_DATABASE_URL=fresh) == ["dagster_daemon_away"]


# ---------------------------------------------------------------- what is promised of it


def test_the_keys_are_the_documented_ones(alive: Deployment) -> None:
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.partition("| key of `--json` |")[2].partition("\n\n")[0]
    documented = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert documented == set(alive.status()[1])


def test_it_imports_neither_dagster_nor_pandas(alive: Deployment, tmp_path: Path) -> None:
    from lambda_pipeline_tests.cli.commands import run_python

    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from lambda_pipeline.cli import app\n"
        "print(CliRunner().invoke(app, ['status']).exit_code)\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    result = run_python(tmp_path, "-c", program, settings=alive.settings)
    code, modules = result.out.splitlines()
    assert code == "0", result.text
    assert not set(modules.split()) & {"dagster", "pandas", "pyarrow", "streamlit"}


def test_the_reader_alone_is_enough(alive: Deployment) -> None:
    reader = alive.feed.database.url("lambda_reader")
    assert alive.status(DATABASE_URL=reader)[0] == 0
    with psycopg.connect(reader) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("delete from daemons")
