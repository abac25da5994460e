"""`demo` with each of its processes killed in turn: the supervisor brings it back, and every hour adds up."""

import os
import random
import re
import signal
from pathlib import Path

import psutil
import pytest

from lambda_pipeline.local import processes
from lambda_pipeline.local.demo import balance
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.storage.engine import make_engine
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.cli.commands import SETTINGS
from lambda_pipeline_tests.faults.ports import taken_port
from lambda_pipeline_tests.faults.stage import SEED, Reports
from lambda_pipeline_tests.processes import Daemon, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.full, pytest.mark.integration, pytest.mark.timeout(900)]
_SERVICES = ("ingest", "speed", "simulator", "dashboard", "dagster-code", "dagster-web", "dagster-daemon")


def pid_of(home: Home, name: str) -> int | None:
    """The living process of a service or server of this home."""
    if name == "PostgreSQL":
        return EmbeddedPostgres(home).pid
    record = processes.read_record(home.run / ("kafka.json" if name == "Kafka" else f"service-{name}.json"))
    alive = record is not None and psutil.pid_exists(record.pid)
    return record.pid if record is not None and alive else None


def test_each_process_of_a_demo_killed_once(open_folder: Path, jars_cache: Path, reports: Reports) -> None:
    """Whose ports are taken as well: it takes others, and says which."""
    home = Home(open_folder / "home")
    machine = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    settings = {
        "LAMBDA_HOME": str(home.path), "LAMBDA_CACHE": str(jars_cache), "LAMBDA_POLL_INTERVAL": "30",
    }  # fmt: skip
    with taken_port() as page, taken_port() as web:
        ports = {"LAMBDA_DASHBOARD_PORT": str(page), "LAMBDA_DAGSTER_PORT": str(web)}
        demo = Daemon(["demo"], machine | settings | ports, open_folder, "demo")
        try:
            wait_for(lambda: "Everything runs" in demo.log or not demo.alive, "everything runs", 240)
            served = re.findall(r"^(?:Dashboard|Dagster): http://127\.0\.0\.1:(\d+)", demo.log, re.MULTILINE)
            assert len(served) == 2, demo.log[-3000:]
            assert not {str(page), str(web)} & set(served)
        except BaseException:
            demo.kill()
            raise
    try:
        for name in random.Random(SEED).sample(["PostgreSQL", "Kafka", *_SERVICES], len(_SERVICES) + 2):
            before = pid_of(home, name)
            assert before is not None, name
            os.kill(before, signal.SIGKILL)
            seconds = wait_for(
                lambda name=name, before=before: pid_of(home, name) not in (None, before), f"{name} is back", 120
            )
            reports.recoveries.append((f"demo's {name} killed, until its successor runs", seconds))
        postgres, kafka = EmbeddedPostgres(home), EmbeddedKafka(home, jars_cache)
        wait_for(lambda: postgres.is_running() and kafka.is_running(), "both servers answer", 120)
        engine = make_engine(postgres.url("lambda", "lambda_writer"), "test")
        connection = KafkaConnection(kafka.bootstrap_servers)
        seen = len(list(balance(engine, connection, "traffic-aqi-data")))
        ingest = pid_of(home, "ingest")
        assert ingest is not None
        os.kill(ingest, signal.SIGSTOP)  # so that what is produced stays as it is
        wait_for(
            lambda: all(hour.adds_up for hour in balance(engine, connection, "traffic-aqi-data")),
            "every hour adds up", 120, interval=1,
        )  # fmt: skip
        os.kill(ingest, signal.SIGCONT)
        assert seen >= 7 * 24
        engine.dispose()
        assert demo.stop(90, signal.SIGINT) == 0
    finally:
        demo.kill()
