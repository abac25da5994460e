"""The steady hourly run: an hour of records is in Kafka, the speed layer has consumed it, and batch takes it over.

Its work is measured call by call in this process, then the whole as a scheduled run is: `dagster api execute_run` is
what a run launcher starts, a process of its own that imports everything and executes the job in process.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path

import psycopg
import sqlalchemy as sa

from benchmarks.batch.history import HOUR, PER_HOUR
from benchmarks.batch.instruments import lock_times, processor_seconds
from benchmarks.daemons import speed_daemons
from benchmarks.load import LoadedTopic, load_topic
from benchmarks.observations import TIMEZONE, Stream
from benchmarks.servers import Database, Servers
from lambda_pipeline.batch.days import DAY_TABLES, compute_days
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.batch.raw_data import advance_raw_data
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.local.dagster_home import prepare_dagster_home
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine

_CONSUME_SECONDS = 120.0


def bench_work(servers: Servers, database: Database, hour: datetime) -> dict[str, float]:
    """Seconds of wall by step and in all, and of processor time in all (ours and the backend's)."""
    loaded = _consumed_hour(servers, database, hour)
    engine = make_engine(database.url("lambda_writer"), "benchmark", BATCH_TIMEOUTS, pool_size=1)
    day = CityClock(TIMEZONE).city_date(hour)
    days = day, day + timedelta(days=1)
    figures: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        figures[f"steady.{name}"] = time.perf_counter() - started

    try:
        _compute(engine, days)  # as the run of the hour before left them
        with engine.connect() as connection:
            pid = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
        own, server = time.process_time(), processor_seconds(pid)
        with lock_times(engine) as locks:
            timed("store", lambda: advance_raw_data(engine, servers.connection, loaded.topic.name))
            timed("publish", lambda: publish_hours(engine, hours_to_publish(engine, *days), TIMEZONE, "benchmark"))
            timed("days", lambda: _compute(engine, days))
        figures["steady.cpu"] = time.process_time() - own + processor_seconds(pid) - server
    finally:
        engine.dispose()
    _check(database, hour, loaded.records)
    figures["steady.work"] = sum(figures[f"steady.{name}"] for name in ("store", "publish", "days"))
    figures["steady.lock"] = locks[0]
    return figures


def _compute(engine: sa.Engine, days: tuple[date, date]) -> None:
    for table in DAY_TABLES:
        compute_days(engine, table, *days, "benchmark")


def bench_run(servers: Servers, database: Database, hour: datetime) -> dict[str, float]:
    """Seconds of wall from starting a run worker to its end, and within it from the run's first step to its last."""
    loaded = _consumed_hour(servers, database, hour)
    environment = dagster_environment(servers, database, loaded.topic.name)
    day = CityClock(TIMEZONE).city_date(hour).isoformat()
    run_id, arguments = python(["-m", "benchmarks.batch.launch", day], environment).splitlines()
    started = time.perf_counter()
    python(["-m", "dagster", "api", "execute_run", arguments], environment)
    seconds = time.perf_counter() - started
    _check(database, hour, loaded.records)
    with closing(psycopg.connect(environment["LAMBDA_DAGSTER_DATABASE_URL"].replace("+psycopg2", ""))) as connection:
        row = connection.execute(
            "select (select status from runs where run_id = %(run)s), "
            "extract(epoch from max(timestamp) - min(timestamp)) "
            "from event_logs where run_id = %(run)s and dagster_event_type in ('STEP_START', 'STEP_SUCCESS')",
            {"run": run_id},
        ).fetchone()
    if row is None or row[0] != "SUCCESS":
        raise RuntimeError(f"the run did not succeed: {row}.")
    return {"steady.dagster": seconds, "steady.steps": float(row[1])}


def dagster_environment(
    servers: Servers, database: Database, topic: str, catalogue: Path | None = None, history_start: str | None = None
) -> dict[str, str]:
    """What Dagster's processes need, with a storage of its own that has its tables."""
    name = servers.name("bench_dagster")
    with psycopg.connect(servers.postgres.url(), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    url = servers.postgres.url(name).replace("postgresql://", "postgresql+psycopg2://", 1)
    environment = {
        "DATABASE_URL": database.url("lambda_writer"),
        "KAFKA_BOOTSTRAP_SERVERS": servers.broker.bootstrap_servers,
        "KAFKA_TOPIC": topic,
        "LAMBDA_CITY": str(catalogue or servers.catalogue),
        "LAMBDA_HOME": str(servers.home.path),
        "DAGSTER_EVENT_BATCH_SIZE": "1000",
        **({"LAMBDA_HISTORY_START": history_start} if history_start else {}),
        **prepare_dagster_home(servers.home.path / name, url),
    }
    python(["-m", "benchmarks.batch.launch"], environment)
    return environment


def python(arguments: list[str], environment: dict[str, str]) -> str:
    """Run a module in a process of its own and return what it prints. Raises RuntimeError with what it complains of."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")]))
    cached = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**cached, **environment, "PYTHONPATH": path},  # compiled once, as where the product is installed
        cwd=environment["LAMBDA_HOME"],  # where no .env lies
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)[:80]} failed:\n{done.stderr[-4000:]}")
    return done.stdout


def _consumed_hour(servers: Servers, database: Database, hour: datetime) -> LoadedTopic:
    """A topic that holds an hour of observations, which a daemon has brought into the speed layer."""
    stream = Stream(servers.city, hour, HOUR / PER_HOUR)
    name = servers.name("steady")
    loaded = load_topic(servers.connection, name, stream, PER_HOUR * len(servers.city.locations))
    with (
        closing(database.connect()) as connection,
        speed_daemons(servers, database, name, servers.name("group")) as (daemon,),
    ):
        deadline = time.monotonic() + _CONSUME_SECONDS
        while _rows(connection, "realtime_data", hour) < loaded.records:
            daemon.check()
            if time.monotonic() > deadline:
                raise RuntimeError("the speed layer did not consume the hour in time.")
            time.sleep(0.2)
    return loaded


def _check(database: Database, hour: datetime, records: int) -> None:
    """Nothing of the hour is left to the speed layer, and both layers said the same of it."""
    with closing(database.connect()) as connection:
        found = connection.execute(
            "select rows, parity_compared, parity_differing, parity_drift from published_hours where hour_start = %s",
            [hour],
        ).fetchone()
        if found != (records, records, 0, 0) or _rows(connection, "realtime_data", hour):
            raise RuntimeError(f"the hour of {records} records was published as {found}.")


def _rows(connection: psycopg.Connection, table: str, hour: datetime) -> int:
    row = connection.execute(f"select count(*) from {table} where hour_start = %s".encode(), [hour]).fetchone()  # noqa: S608 - made of constants
    assert row is not None
    return int(row[0])
