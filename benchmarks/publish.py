"""The publish of raw rows, beside one bare aggregation of them that publishes nothing."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa

from benchmarks.observations import Stream
from benchmarks.servers import Servers
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.incoming import driver_connection

_DAY = date(2025, 6, 1)
_BARE = """
select hour_start, location, count(*) as n, sum(aqi_value) as aqi, min(aqi_value) as aqi_min, max(aqi_value) as aqi_max,
       sum(traffic_level) as traffic, min(traffic_level) as traffic_min, max(traffic_level) as traffic_max,
       sum(round(current_speed * 1000)::bigint) as speed, sum(round(congestion_ratio * 1e9)::bigint) as ratio
into temporary bare
from raw_data
group by hour_start, location
"""


def bench_publish(servers: Servers, rows: int) -> tuple[float, float]:
    """(raw rows a second through prepare and swap, through one aggregation)."""
    stream = Stream(servers.city, datetime(_DAY.year, _DAY.month, _DAY.day, tzinfo=UTC), timedelta(minutes=1))
    with servers.database() as made:
        engine = make_engine(made.url(), "benchmark", BATCH_TIMEOUTS)
        try:
            with transaction(engine) as database:
                deployment = load_deployment(database)
            validator, now = deployment.validator(), stream.start + timedelta(days=30)
            observations = [validator.validate(stream.message(number), now) for number in range(rows)]
            import_observations(engine, observations, "benchmark")
            with transaction(engine) as database:
                database.execute(sa.text("analyze raw_data"))
            days = _DAY, _DAY + timedelta(days=2)
            ours = _seconds(
                lambda: publish_hours(engine, hours_to_publish(engine, *days), deployment.timezone, "benchmark")
            )
            bare = _seconds(lambda: _aggregate(engine))
        finally:
            engine.dispose()
    return rows / ours, rows / bare


def _aggregate(engine: sa.Engine) -> None:
    with transaction(engine) as database:
        driver_connection(database).execute(_BARE)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
