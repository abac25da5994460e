"""Chromium, and a dashboard over a real database with two simulated days in both layers."""

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
import requests
import sqlalchemy as sa
from playwright.sync_api import Browser, sync_playwright

from lambda_pipeline.batch.days import compute_days
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.domain.log import Incoming
from lambda_pipeline.ingestion.schedule import aligned_slot
from lambda_pipeline.local.dashboard import dashboard_command
from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline.local.simulated_city import SimulatedCity
from lambda_pipeline.speed.commit import MicroBatch, Move, commit_micro_batch
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.log_partitions import register_partitions
from lambda_pipeline_tests.browser.chromium import ARGUMENTS, find_chromium

STEP = timedelta(minutes=6)
DAYS = 2


@pytest.fixture(scope="session")
def dashboard_url(postgres: EmbeddedPostgres, jakarta: City, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the real dashboard, which reads as the reader and draws no tiles: a tile server out of reach is an
    error in the browser's console."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("create database dashboard template template")
    engine = make_engine(postgres.url("dashboard", "lambda_writer"), "test", BATCH_TIMEOUTS)
    fill(engine, jakarta)
    engine.dispose()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "LAMBDA_READER_DATABASE_URL": postgres.url("dashboard", "lambda_reader"),
        "LAMBDA_TILE_URL": "none",
    }
    log = tmp_path_factory.mktemp("dashboard") / "streamlit.log"
    with log.open("wb") as out:
        command = dashboard_command("127.0.0.1", port)
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        assert wait_until(lambda: answers(url), timeout=60, interval=0.1), log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def fill(engine: sa.Engine, city: City) -> None:
    """Two days up to now: the closed hours published, the last half hour in the speed layer."""
    with transaction(engine) as database:
        deployment = load_deployment(database)
        partition = register_partitions(database, uuid4(), "observations", [0])[0]
    validator, now = deployment.validator(), datetime.now(UTC)
    end = aligned_slot(now, STEP) + STEP
    messages = SimulatedCity(city, 1).history(end - timedelta(days=DAYS), end, STEP)
    observations = [validator.validate(message, now) for message in messages if message.timestamp <= now]
    live_from = now - timedelta(minutes=30)
    history = [observation for observation in observations if observation.timestamp < live_from]
    live = [observation for observation in observations if observation.timestamp >= live_from]
    import_observations(engine, history, "simulated history")
    clock = deployment.clock()
    first, until = clock.city_date(end - timedelta(days=DAYS)), clock.city_date(now) + timedelta(days=1)
    publish_hours(engine, hours_to_publish(engine, first, until), city.timezone, "test")
    for table in ("daily_aggregations", "peak_hours_analysis", "peak_hours"):
        compute_days(engine, table, first, until, "test")
    rows = tuple(Incoming(observation, "kafka", partition.id, number) for number, observation in enumerate(live))
    commit_micro_batch(engine, MicroBatch(rows, (), (Move(partition, 0, len(rows)),)), city.timezone)


def answers(url: str) -> bool:
    """Whether the dashboard serves."""
    try:
        return requests.get(f"{url}/_stcore/health", timeout=1).ok
    except requests.RequestException:
        return False


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The machine's own Chromium, headless."""
    path = find_chromium()
    if path is None:
        pytest.fail("no Chromium on this machine: run `make browser`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()
