"""The whole way with real processes: simulated APIs, ingest, Kafka, speed, batch, serving, and a kill in the middle."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.dagster_home import prepare_dagster_home
from lambda_pipeline.local.demo import balance
from lambda_pipeline.local.simulator import serve
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration
DEADLINE = 90.0  # seconds; on an idle machine each condition is met within a few


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds, and fail with its name if it does not in time."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {DEADLINE:.0f} s in vain until {what}")
        time.sleep(0.05)


@contextmanager
def daemon(name: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon of ours as its own process, killed at the end whatever happens."""
    with (log / f"{name}.log").open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "lambda_pipeline", name], env=environment, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def environment(database: Database, kafka: KafkaConnection, topic_name: str, tmp_path: Path) -> dict[str, str]:
    """What every process of this platform is started with."""
    dagster = database.postgres.url("template1").replace("postgresql://", "postgresql+psycopg2://", 1)
    with database.postgres_connection() as connection:
        connection.execute(f"create database dagster_{database.name}")
    dagster = dagster.replace("/template1?", f"/dagster_{database.name}?")
    return (
        os.environ
        | {
            "DATABASE_URL": database.url(),
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_TOPIC": topic_name,
            "LAMBDA_HOME": str(tmp_path / "home"),
            "LAMBDA_POLL_INTERVAL": "1",
            "LAMBDA_TOMTOM_DAILY_QUOTA": "1000000000",  # or TomTom would be asked at few of so many polls
            "LAMBDA_SPEED_MAX_RECORDS": "7",  # many small commits, so that the kill hits one
            "TOMTOM_API_KEY": "simulated",
            "AQICN_TOKEN": "simulated",
        }
        | prepare_dagster_home(tmp_path / "dagster", dagster)
    )


def count(database: Database, table: str) -> int:
    """Rows of a table."""
    with transaction(database.owner) as connection:
        return int(connection.execute(sa.text(f"select count(*) from {table}")).scalar_one())


def test_every_produced_observation_is_served_exactly_once_although_the_speed_daemon_is_killed(
    database: Database,
    kafka: KafkaConnection,
    topic_name: str,
    environment: dict[str, str],
    jakarta: City,
    tmp_path: Path,
) -> None:
    simulator = serve(jakarta, seed=7)
    environment |= {"LAMBDA_TOMTOM_URL": simulator.url, "LAMBDA_AQICN_URL": simulator.url}
    try:
        with daemon("ingest", environment, tmp_path) as ingest:
            with daemon("speed", environment, tmp_path) as speed:
                wait_for(lambda: count(database, "realtime_data") >= 30, "the speed layer shows observations")
                speed.send_signal(signal.SIGKILL)
                speed.wait()
            before = count(database, "realtime_data")
            run_backfill(environment, database)
            assert count(database, "realtime_data") <= before
            with daemon("speed", environment, tmp_path) as speed:
                wait_for(lambda: served(database) >= before + 30, "the restarted speed layer shows more")
                ingest.send_signal(signal.SIGTERM)
                assert ingest.wait(timeout=30) == 0
                wait_for(lambda: all_served(database, kafka, topic_name), "everything produced is served once")
                run_backfill(environment, database)
                assert all_served(database, kafka, topic_name)
                speed.send_signal(signal.SIGTERM)
                assert speed.wait(timeout=30) == 0
    finally:
        simulator.close()
    assert count(database, "dead_letters") == 0
    assert served(database) == count(database, "raw_data")


def served(database: Database) -> int:
    """Observations in the served hours of both layers."""
    return int(str(database.scalar("select coalesce(sum(data_points_count), 0) from served_hourly")))


def all_served(database: Database, kafka: KafkaConnection, topic_name: str) -> bool:
    """Whether what the log holds is what is served, hour by hour."""
    hours = balance(database.owner, kafka, topic_name)
    return bool(hours) and all(hour.adds_up for hour in hours)


def run_backfill(environment: dict[str, str], database: Database) -> None:
    """Publish the days that the simulator's clock is in, as an operator would."""
    days = database.rows("select (now() at time zone timezone)::date as today from deployment")[0]
    first, until = database.rows(
        "select cast(:day as date) - 1 as first, cast(:day as date) + 1 as until", day=days.today
    )[0]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "lambda_pipeline", "backfill", "--from", str(first), "--to", str(until)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
