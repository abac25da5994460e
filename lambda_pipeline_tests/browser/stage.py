"""A real dashboard over a real database that both layers have filled."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import requests
import sqlalchemy as sa

from lambda_pipeline.batch.days import compute_days
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.domain.log import Incoming
from lambda_pipeline.domain.observation import Observation, ObservationMessage
from lambda_pipeline.ingestion.schedule import aligned_slot
from lambda_pipeline.local.dashboard import dashboard_command
from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline.local.simulated_city import SimulatedCity
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.speed.commit import MicroBatch, Move, commit_micro_batch
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.log_partitions import LogPartition, register_partitions

STEP = timedelta(minutes=6)
REFRESH_SECONDS = 3


@dataclass
class Stage:
    """The page's address, what it reads, and a way to let something new arrive."""

    url: str
    city: City
    serving: ServingLayer
    reader_url: str
    _writer: sa.Engine
    _partition: LogPartition
    _offset: int

    def observe(self, location: str, aqi: int, level: int) -> None:
        """One observation of now, committed by the speed layer."""
        now = datetime.now(UTC)
        with transaction(self._writer) as database:
            validator = load_deployment(database).validator()
        place = next(place for place in self.city.locations if place.name == location)
        message = ObservationMessage(
            schema_version=1,
            timestamp=now.replace(microsecond=0),
            location=location,
            latitude=place.latitude,
            longitude=place.longitude,
            aqi_value=aqi,
            traffic_level=level,
        )
        _commit(self._writer, self.city, self._partition, self._offset, [validator.validate(message, now)])
        self._offset += 1


@contextmanager
def staged(postgres: EmbeddedPostgres, name: str, city: City, days: int, log: Path) -> Iterator[Stage]:
    """Fill the database `name`, which is claimed and empty, with `days` up to now, and serve the page over it.

    The page reads as the reader and draws no tiles: a tile server out of reach is an error in the browser's console.
    """
    writer = make_engine(postgres.url(name, "lambda_writer"), "test", BATCH_TIMEOUTS)
    with transaction(writer) as database:
        partition = register_partitions(database, uuid4(), "observations", [0])[0]
    offset = _fill(writer, city, partition, days)
    reader_url = postgres.url(name, "lambda_reader")
    try:
        with page_over(reader_url, log) as url:
            yield Stage(url, city, ServingLayer.open(reader_url, "test"), reader_url, writer, partition, offset)
    finally:
        writer.dispose()


@contextmanager
def page_over(reader_url: str, log: Path, tile_url: str = "none", script: Path | None = None) -> Iterator[str]:
    """The page over a database, or another script of Streamlit's, as a process of its own; gives its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "LAMBDA_READER_DATABASE_URL": reader_url,
        "LAMBDA_TILE_URL": tile_url,
        "LAMBDA_REFRESH": str(REFRESH_SECONDS),
    }
    with log.open("wb") as out:
        command = dashboard_command("127.0.0.1", port)
        if script is not None:
            command[command.index("run") + 1] = str(script)
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        assert wait_until(lambda: answers(url), timeout=60, interval=0.1), log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def make_database(postgres: EmbeddedPostgres, name: str) -> None:
    """A database like the tests' template."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"create database {name} template template")


def _fill(engine: sa.Engine, city: City, partition: LogPartition, days: int) -> int:
    """The closed hours published, the last half hour in the speed layer; returns the next offset."""
    with transaction(engine) as database:
        deployment = load_deployment(database)
    validator, now = deployment.validator(), datetime.now(UTC)
    end = aligned_slot(now, STEP) + STEP
    first = end - timedelta(days=days)
    messages = SimulatedCity(city, 1).history(first, end, STEP)
    observations = [validator.validate(message, now) for message in messages if message.timestamp <= now]
    live_from = now - timedelta(minutes=30)
    history = [observation for observation in observations if observation.timestamp < live_from]
    live = [observation for observation in observations if observation.timestamp >= live_from]
    import_observations(engine, history, "simulated history")
    clock = deployment.clock()
    first_day, until = clock.city_date(first), clock.city_date(now) + timedelta(days=1)
    publish_hours(engine, hours_to_publish(engine, first_day, until), city.timezone, "test")
    for table in ("daily_aggregations", "peak_hours_analysis", "peak_hours"):
        compute_days(engine, table, first_day, until, "test")
    _commit(engine, city, partition, 0, live)
    return len(live)


def _commit(
    engine: sa.Engine, city: City, partition: LogPartition, offset: int, observations: list[Observation]
) -> None:
    rows = tuple(
        Incoming(observation, "kafka", partition.id, number) for number, observation in enumerate(observations, offset)
    )
    move = Move(partition, offset, offset + len(rows))
    commit_micro_batch(engine, MicroBatch(rows, (), (move,)), city.timezone)


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/_stcore/health", timeout=1).ok
    except requests.RequestException:
        return False
