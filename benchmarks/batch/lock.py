"""How long the swap of an hour holds the publish lock, where the speed layer holds all of it or nothing."""

from datetime import datetime

import psycopg
import sqlalchemy as sa

from benchmarks.batch.history import fill_speed
from benchmarks.batch.instruments import lock_times
from benchmarks.observations import TIMEZONE
from benchmarks.servers import Database
from lambda_pipeline.batch.publish import HourToPublish, publish_hours
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine

_UNPUBLISH = (
    "delete from batch_aggregations where hour_start = %s", "delete from city_hourly where hour_start = %s",
    "delete from batch_coverage where hour_start = %s", "delete from published_hours where hour_start = %s",
    "delete from realtime_data where hour_start = %s", "delete from realtime_hourly where hour_start = %s",
)  # fmt: skip
_LATE = "update raw_data set aqi_value = 500 where timestamp = %s and location like '%%7'"


def bench_lock(database: Database, hour: datetime, rows: int) -> dict[str, float]:
    """Milliseconds by case; the hour is published before and after. Raises RuntimeError if a case is another."""
    engine = make_engine(database.url("lambda_writer"), "benchmark", BATCH_TIMEOUTS, pool_size=1)
    figures = {}
    try:
        with database.connect() as connection:
            for name, checkpoint in {"lock.full": False, "lock.checkpoint": True}.items():
                _unpublish(connection, hour)
                fill_speed(connection, hour)
                connection.execute("analyze realtime_data, realtime_hourly")
                if checkpoint:
                    connection.execute("checkpoint")
                figures[name] = _swapped(engine, hour, moved=rows)
            _unpublish(connection, hour)
            figures["lock.empty"] = _swapped(engine, hour, moved=0)
            connection.execute(_LATE, [hour])
            figures["lock.again"] = _swapped(engine, hour, moved=0)
    finally:
        engine.dispose()
    return figures


def _swapped(engine: sa.Engine, hour: datetime, moved: int) -> float:
    with lock_times(engine) as times:
        done = publish_hours(engine, [HourToPublish(hour, 1)], TIMEZONE, "benchmark")
    if (done.hours, done.moved, done.parity.differing, done.parity.drift) != (1, moved, 0, 0):
        raise RuntimeError(f"the swap was to move {moved} equal rows: {done}.")
    return times[0]


def _unpublish(connection: psycopg.Connection, hour: datetime) -> None:
    for statement in _UNPUBLISH:
        connection.execute(statement, [hour])
    connection.execute("vacuum realtime_data, realtime_hourly, batch_aggregations")
