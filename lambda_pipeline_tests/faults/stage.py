"""A platform under test: a database, a topic, daemons as processes, and the comparison of served with produced."""

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median

import psutil
import psycopg
import sqlalchemy as sa
from kafka import KafkaConsumer, TopicPartition

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.dagster_home import prepare_dagster_home
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.storage.engine import make_engine, transaction
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import ensure_topic
from lambda_pipeline_tests.faults.load import Expected, Load
from lambda_pipeline_tests.processes import Daemon, wait_for
from lambda_pipeline_tests.servers import make_claimed_database

FULL = os.environ.get("LAMBDA_FAULTS", "short") == "full"
SEED = int(os.environ.get("LAMBDA_FAULTS_SEED", "20251124"))
SPEED = "speed"
_AGGREGATES = "aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic"


def size(short: int, full: int) -> int:
    """How often something is tried: in `make test`, and in `make test-faults`."""
    return full if FULL else short


@dataclass
class Servers:
    """A PostgreSQL and a Kafka that a test may stop, kill and freeze."""

    postgres: EmbeddedPostgres
    kafka: EmbeddedKafka

    def heal(self) -> None:
        """Both run again."""
        self.postgres.start()
        self.kafka.start(progress=False)


@contextmanager
def frozen(pid: int | None) -> Iterator[None]:
    """A server that does not answer, with all its processes, for as long as a block runs."""
    leader = psutil.Process(pid)
    processes = [leader, *leader.children(recursive=True)]
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # a worker of PostgreSQL's that was just done
                process.suspend()
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@dataclass
class Reports:
    """For the end of the test run: lines, and how many seconds after a fault everything went on."""

    lines: list[str] = field(default_factory=list)
    recoveries: list[tuple[str, float]] = field(default_factory=list)


@dataclass
class Platform:
    """Everything of one test. `environment` is what its processes are started with."""

    connection: KafkaConnection
    topic: str
    url: str  # the writer's
    folder: Path
    locations: list[str]
    dagster_url: str
    reports: "Reports"
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = make_engine(self.url, "test")
        self.rng = random.Random(SEED)
        self._daemons: list[Daemon] = []
        self.environment = (
            os.environ
            | {
                "DATABASE_URL": self.url,
                "KAFKA_BOOTSTRAP_SERVERS": self.connection.bootstrap_servers,
                "KAFKA_TOPIC": self.topic,
                "KAFKA_CONSUMER_GROUP": self.topic,
                "LAMBDA_HOME": str(self.folder / "home"),
                "LAMBDA_SPEED_MAX_RECORDS": "500",  # many commits, so that what happens hits one
                "LAMBDA_LOG_LEVEL": "DEBUG",
            }
            | prepare_dagster_home(self.folder / "dagster", self.dagster_url)
            | self.settings
        )

    def load(self, rate: float = 1500.0) -> Load:
        """A load on the platform's topic."""
        return Load(self.connection, self.topic, self.locations, SEED, rate)

    def start(self, *command: str, name: str = "", module: str = "lambda_pipeline", **settings: str) -> Daemon:
        """One more process of ours, or of another module that can be run."""
        name = name or f"{command[0]}-{len(self._daemons) + 1}"
        self._daemons.append(Daemon(list(command), self.environment | settings, self.folder, name, module))
        return self._daemons[-1]

    def run(self, *command: str, timeout: float = 240.0) -> str:
        """A command of ours to its end; what it said. Fails unless it succeeds."""
        process = self.start(*command)
        code = process.wait(timeout)
        assert code == 0, process.log[-3000:]
        return process.log

    def backfill(self, days: int = 2) -> list[str]:
        """The command that publishes the days of the load, which began so many days ago at most."""
        range_ = self.rows("select now()::date - :days as first, now()::date + 2 as until", days=days)[0]
        return ["backfill", "--from", str(range_.first), "--to", str(range_.until)]

    def rows(self, query: str, **values: object) -> list[sa.Row]:
        """Rows of the database."""
        with transaction(self.engine) as database:
            return list(database.execute(sa.text(query), values))

    def stored(self) -> dict[int, int]:
        """The speed layer's offsets by partition number."""
        rows = self.rows(
            "select p.partition, o.next_offset from stream_offsets o join log_partitions p on p.id = o.log_partition "
            "where p.topic = :topic",
            topic=self.topic,
        )
        return {row.partition: row.next_offset for row in rows}

    def consumed(self) -> int:
        """How many offsets the speed layer has passed."""
        return sum(self.stored().values())

    def progresses(self, by: int = 1) -> float:
        """Wait until the speed layer has passed so many more offsets; returns the seconds."""
        before = self.consumed()
        return wait_for(lambda: self.consumed() >= before + by, f"the speed layer passes {by} more records")

    def ends(self) -> dict[int, int]:
        """The log's ends by partition number, where anything was written."""
        consumer = KafkaConsumer(**self.connection.client_settings("ends"), enable_auto_commit=False)
        try:
            partitions = [TopicPartition(self.topic, number) for number in consumer.partitions_for_topic(self.topic)]
            return {tp.partition: end for tp, end in consumer.end_offsets(partitions).items() if end}
        finally:
            consumer.close()

    def catches_up(self, deadline: float = 120.0) -> float:
        """Wait until the speed layer has consumed the log as it is now, or further; returns the seconds."""
        ends = self.ends()

        def is_there() -> bool:
            stored = self.stored()
            return all(stored.get(number, 0) >= end for number, end in ends.items())

        return wait_for(is_there, f"the speed layer is at {ends}", deadline)

    def report(self, text: str) -> None:
        """A line for the end of the test run."""
        self.reports.lines.append(text)

    def recovered(self, fault: str, *seconds: float) -> None:
        """So many seconds after the end of a fault everything went on: a row of the table at the end of the run."""
        self.reports.recoveries += [(fault, one) for one in seconds]

    def kill_all(self) -> None:
        """Kill what still runs."""
        for daemon in self._daemons:
            daemon.kill()

    def close(self) -> None:
        """Kill what still runs, and let go of the database."""
        self.kill_all()
        self.engine.dispose()


def prepare_platform(
    postgres: EmbeddedPostgres,
    connection: KafkaConnection,
    city: City,
    names: tuple[str, str],
    topic: str,
    folder: Path,
    reports: Reports,
) -> Platform:
    """A platform on servers: a claimed database, one for Dagster (`names`), and a topic of four partitions."""
    make_claimed_database(postgres, names[0], city)
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(f"create database {names[1]}")  # type: ignore[call-overload]
    ensure_topic(connection, topic, 4)
    dagster = postgres.url(names[1]).replace("postgresql://", "postgresql+psycopg2://", 1)
    places = [place.name for place in city.locations]
    return Platform(connection, topic, postgres.url(names[0], "lambda_writer"), folder, places, dagster, reports)


def recovery_table(recoveries: Mapping[str, Sequence[float]]) -> list[str]:
    """A line per fault: how often, and the seconds until everything went on, median and most."""
    if not recoveries:
        return []
    width = max(map(len, recoveries))
    lines = [f"{'fault':<{width}}  times  recovered in (median, most)"]
    for fault, seconds in sorted(recoveries.items()):
        lines.append(f"{fault:<{width}}  {len(seconds):>5}  {median(seconds):6.1f} s  {max(seconds):6.1f} s")
    return lines


def assert_served_is_produced(platform: Platform, load: Load) -> None:
    """Each distinct observation of the log once, with its first values, and exactly the poison in dead letters."""
    assert_served(platform, load.expected())


def assert_served(platform: Platform, expected: Expected) -> None:
    """Exactly these observations, each once, and exactly these dead letters."""
    served = {
        (row.location, row.timestamp): (row.aqi_value, row.traffic_level)
        for row in platform.rows("select location, timestamp, aqi_value, traffic_level from served_observations")
    }
    assert served.keys() == expected.observations.keys()
    assert served == {key: (values.aqi, values.level) for key, values in expected.observations.items()}
    assert platform.rows("select count(*) as n from served_observations")[0].n == len(served)
    hours: dict[tuple[str, datetime], tuple[int | None, ...]] = {
        (row.location, row.hour_start): tuple(row[2:])
        for row in platform.rows(f"select location, hour_start, data_points_count, {_AGGREGATES} from served_hourly")
    }
    assert hours == expected.hours()
    dead = platform.rows(
        "select p.partition, d.log_offset, d.payload from dead_letters d "
        "join log_partitions p on p.id = d.log_partition"
    )
    assert {(row.partition, row.log_offset): row.payload for row in dead} == expected.dead_letters
    assert not platform.rows(
        "select 1 from realtime_data r join raw_data b using (location, timestamp) join batch_coverage c "
        "on c.hour_start = b.hour_start and c.log_partition = b.log_partition and b.log_offset < c.next_offset limit 1"
    ), "an observation is in both layers"


@contextmanager
def closing(platform: Platform) -> Iterator[Platform]:
    """The platform for as long as a block runs."""
    try:
        yield platform
    finally:
        platform.close()
