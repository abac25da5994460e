"""`python -m benchmarks`: medians of several runs, and ratios, on an embedded PostgreSQL of its own."""

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import sqlalchemy as sa

from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.domain.log import Incoming
from lambda_pipeline.domain.observation import Observation, ObservationMessage, Validator
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.speed.commit import MicroBatch, Move, commit_micro_batch
from lambda_pipeline.storage.deployment import claim, load_deployment
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.incoming import driver_connection
from lambda_pipeline.storage.log_partitions import LogPartition, register_partitions
from lambda_pipeline.storage.migrate import upgrade

RUNS = 3
LOCATIONS = 1_000
BATCH = 2_000
BATCHES = 50
START = datetime(2025, 6, 1, tzinfo=UTC)
DAY = date(2025, 6, 1)
PLAIN = {
    "location": "text", "timestamp": "timestamptz", "hour_start": "timestamptz", "city_date": "date",
    "latitude": "float8", "longitude": "float8", "aqi_value": "int4", "aqi_category": "varchar",
    "traffic_level": "int2", "current_speed": "float8", "free_flow_speed": "float8", "congestion_ratio": "float8",
    "road_closure": "bool", "is_peak_hour": "bool", "source": "text", "log_partition": "int2", "log_offset": "int8",
    "id": "int8", "is_active": "bool", "created_at": "timestamptz", "processing_timestamp": "timestamptz",
}  # fmt: skip
BARE_AGGREGATION = """
select hour_start, location, count(*) as n, sum(aqi_value) as aqi, min(aqi_value) as aqi_min, max(aqi_value) as aqi_max,
       sum(traffic_level) as traffic, min(traffic_level) as traffic_min, max(traffic_level) as traffic_max,
       sum(round(current_speed * 1000)::bigint) as speed, sum(round(congestion_ratio * 1e9)::bigint) as ratio
into temporary bare
from raw_data
group by hour_start, location
"""


def main() -> None:
    """Run everything and print one table."""
    print(f"Python {platform.python_version()}, {platform.machine()}; medians of {RUNS} runs")
    city = City("Benchmark", "Asia/Jakarta", locations=tuple(Location(f"place {n:05}") for n in range(LOCATIONS)))
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Home(Path(folder)))
        server.start()
        try:
            commit = [bench_commit(server, city) for _ in range(RUNS)]
            publish = [bench_publish(server, city) for _ in range(RUNS)]
        finally:
            server.stop()
    _print(f"speed commit, {BATCH} a batch", "plain COPY", commit, "observations/s")
    _print("publish of raw rows", "one bare aggregation", publish, "rows/s")


def bench_commit(server: EmbeddedPostgres, city: City) -> tuple[float, float]:
    """(observations a second through the speed commit, through a COPY into a table with the same key)."""
    engine, partition, observations = _prepare(server, city, BATCH * BATCHES)
    batches = [
        tuple(
            Incoming(observation, "kafka", partition.id, first + number)
            for number, observation in enumerate(observations[first : first + BATCH])
        )
        for first in range(0, len(observations), BATCH)
    ]

    def ours() -> None:
        for number, rows in enumerate(batches):
            moves = (Move(partition, number * BATCH, (number + 1) * BATCH),)
            commit_micro_batch(engine, MicroBatch(rows, (), moves), city.timezone)

    def plain() -> None:
        for rows in batches:
            with transaction(engine) as database:
                copy_plain(database, rows)

    with transaction(engine) as database:
        database.execute(sa.text("create table plain (like realtime_data, primary key (location, timestamp))"))
    result = len(observations) / _seconds(ours), len(observations) / _seconds(plain)
    engine.dispose()
    return result


def copy_plain(database: sa.Connection, rows: tuple[Incoming, ...]) -> None:
    """The same values into a table with the same key, and nothing else: no check, no sums, no offsets."""
    now = datetime.now(UTC)
    with (
        driver_connection(database).cursor() as cursor,
        cursor.copy(f"copy plain ({', '.join(PLAIN)}) from stdin (format binary)") as copy,
    ):
        copy.set_types(list(PLAIN.values()))
        for row in rows:
            copy.write_row((*row.observation[:-1], *row[1:4], row.log_offset, True, now, now))


def bench_publish(server: EmbeddedPostgres, city: City) -> tuple[float, float]:
    """(raw rows a second through prepare and swap, through one aggregation that publishes nothing)."""
    engine, _, observations = _prepare(server, city, 200_000)
    import_observations(engine, observations, "benchmark")
    with transaction(engine) as database:
        database.execute(sa.text("analyze raw_data"))

    def ours() -> None:
        publish_hours(engine, hours_to_publish(engine, DAY, DAY + timedelta(days=2)), city.timezone, "benchmark")

    def bare() -> None:
        with transaction(engine) as database:
            driver_connection(database).execute(BARE_AGGREGATION)

    result = len(observations) / _seconds(ours), len(observations) / _seconds(bare)
    engine.dispose()
    return result


def _prepare(server: EmbeddedPostgres, city: City, count: int) -> tuple[sa.Engine, LogPartition, list[Observation]]:
    """A fresh database of the city, a log partition, and observations spread over places and minutes."""
    name = f"bench_{uuid4().hex}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"create database {name}")  # type: ignore[call-overload]
    engine = make_engine(server.url(name), "benchmark", BATCH_TIMEOUTS)
    upgrade(engine)
    with transaction(engine) as database:
        claim(database, city, date(2025, 1, 1), timedelta(minutes=1))
        partition = register_partitions(database, uuid4(), "benchmark", [0])[0]
        validator = load_deployment(database).validator()
    return engine, partition, [_observation(validator, number) for number in range(count)]


def _observation(validator: Validator, number: int) -> Observation:
    minute, place = divmod(number, LOCATIONS)
    message = ObservationMessage(
        timestamp=START + timedelta(minutes=minute),
        location=f"place {place:05}",
        aqi_value=number % 300,
        current_speed=float(number % 60),
        free_flow_speed=60.0,
    )
    return validator.validate(message, START + timedelta(days=30))


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _print(ours: str, other: str, results: list[tuple[float, float]], unit: str) -> None:
    rate = statistics.median(first for first, _ in results)
    beside = statistics.median(second for _, second in results)
    ratio = statistics.median(first / second for first, second in results)
    print(f"{ours:<32} {rate:>12,.0f} {unit:<16} {other:<22} {beside:>12,.0f}   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
