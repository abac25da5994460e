"""Signs of life: what a daemon that lives, ends, fails or is killed leaves for whoever looks from elsewhere."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.simulator import serve
from lambda_pipeline.storage.daemons import Heartbeat
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.processes import daemon, wait_for
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


def rows(database: Database) -> list[sa.Row]:
    return database.rows("select * from daemons order by role, pid")


def heart(database: Database, stop: threading.Event, describe: Callable[[], dict[str, object]] = dict) -> Heartbeat:
    return Heartbeat(database.url(), "speed", describe, stop, every=0.05)


def test_a_sign_is_kept_up_to_date_and_its_end_is_told(database: Database) -> None:
    stop, numbers = threading.Event(), iter(range(1_000_000))
    with heart(database, stop, lambda: {"number": next(numbers)}):
        wait_for(lambda: [row.detail["number"] >= 3 for row in rows(database)] == [True], "several signs")
        (row,) = rows(database)
        assert (row.role, row.pid, row.stopped_at) == ("speed", os.getpid(), None)
        assert row.started_at < row.seen_at
        wait_for(lambda: rows(database)[0].seen_at > row.seen_at, "another sign")
        assert rows(database)[0].started_at == row.started_at
        stop.set()
    wait_for(lambda: rows(database)[0].stopped_at, "its end")


def test_one_that_fails_just_goes_silent(database: Database) -> None:
    with suppress(ValueError), heart(database, threading.Event()) as beating:
        wait_for(lambda: rows(database), "a sign")
        raise ValueError("a bug")
    wait_for(lambda: not beating._thread.is_alive(), "its thread ends")
    assert rows(database)[0].stopped_at is None


def test_the_next_process_of_a_number_has_a_start_of_its_own(database: Database) -> None:
    """As in a container, where each is number 7."""
    with heart(database, threading.Event()):
        wait_for(lambda: rows(database), "a sign")
    database.rows("update daemons set started_at = started_at - interval '1 hour', stopped_at = now() returning 1")
    before = rows(database)[0]
    with heart(database, threading.Event()):
        wait_for(lambda: rows(database)[0].stopped_at is None, "a sign")
        assert (rows(database)[0].started_at - before.started_at).total_seconds() > 3500


def test_those_that_were_not_seen_for_a_day_are_forgotten(database: Database) -> None:
    database.rows(
        "insert into daemons select 'ingest', 'h', n, '1', now() - interval '9 days', now() - n * interval '10 hours', "
        "null, '{}' from generate_series(1, 4) n returning 1"
    )
    with heart(database, threading.Event()):
        wait_for(lambda: len(rows(database)) == 3, "two are forgotten")
    assert [row.pid for row in rows(database)][:2] == [1, 2]


@pytest.mark.parametrize("trouble", ["away", "may not write", "cannot say"])
def test_whatever_hinders_it_is_one_line_in_the_log_and_nothing_else(
    database: Database, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    tries = threading.Semaphore(0)

    def describe() -> dict[str, object]:
        tries.release()
        if trouble == "cannot say":
            raise KeyError("a bug")
        return {}

    addresses = {
        "away": f"postgresql://x:y@127.0.0.1:{free_port()}/z", "may not write": database.url("lambda_reader"),
        "cannot say": database.url(),
    }  # fmt: skip
    with (
        caplog.at_level(logging.INFO, "lambda_pipeline"),
        Heartbeat(addresses[trouble], "ingest", describe, threading.Event(), every=0.01),
    ):
        for _ in range(4):
            assert tries.acquire(timeout=30)
    said = [line for line in caplog.records if line.name == "lambda_pipeline.storage.daemons"]
    assert [line.levelname for line in said] == ["INFO"]
    assert "no sign of life for `lambda-pipeline status`" in said[0].getMessage()
    assert rows(database) == []


def test_the_daemons_sign_end_in_order_and_go_silent_when_they_are_killed(
    database: Database, kafka: KafkaConnection, topic_name: str, jakarta: City, tmp_path: Path
) -> None:
    simulator = serve(jakarta, seed=3)
    environment = os.environ | {
        "DATABASE_URL": database.url(),
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC": topic_name,
        "LAMBDA_HOME": str(tmp_path / "home"),
        "LAMBDA_POLL_INTERVAL": "1",
        "LAMBDA_TOMTOM_DAILY_QUOTA": "1000000",
        "TOMTOM_API_KEY": "simulated",
        "AQICN_TOKEN": "simulated",
        "LAMBDA_TOMTOM_URL": simulator.url,
        "LAMBDA_AQICN_URL": simulator.url,
    }
    try:
        with daemon("speed", environment, tmp_path) as speed, daemon("ingest", environment, tmp_path) as ingest:
            wait_for(lambda: len(rows(database)) == 2, "both have signed")
            by_role = {row.role: row for row in rows(database)}
            assert (by_role["ingest"].pid, by_role["speed"].pid) == (ingest.pid, speed.pid)
            wait_for(
                lambda: {row.role: row.detail for row in rows(database)}["speed"]["observations"] > 0, "it has counted"
            )
            wait_for(
                lambda: {row.role: row.detail for row in rows(database)}["ingest"]["delivered"] > 0, "it has counted"
            )
            detail = {row.role: row.detail for row in rows(database)}["ingest"]
            assert detail["quotas"]["tomtom"]["limit"] == 1_000_000
            assert detail["quotas"]["tomtom"]["used"] > 0
            assert detail["last_hour"]["aqicn"]["ok"] > 0
            assert detail["spool"]["max_bytes"] == 256 << 20
            assert detail["disk"]["folder"] == str((tmp_path / "home").resolve())
            speed.send(signal.SIGKILL)
            speed.wait(30)
            assert ingest.stop() == 0
    finally:
        simulator.close()
    ended = {row.role: row.stopped_at for row in rows(database)}
    assert (ended["ingest"] is None, ended["speed"]) == (False, None)
