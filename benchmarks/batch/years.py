"""A backfill over years through Dagster, few rows an hour: its time, its memory, and what of the time is Dagster's."""

import json
from datetime import UTC, date, datetime, timedelta

from benchmarks.batch.history import fill_history
from benchmarks.batch.steady import dagster_environment, python
from benchmarks.observations import TIMEZONE, make_city, write_catalogue
from benchmarks.servers import Database, Servers
from lambda_pipeline.storage.deployment import claim
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.migrate import upgrade

_FIRST = date(2021, 6, 1)
_MIDNIGHT = datetime(2021, 5, 31, 17, tzinfo=UTC)  # of that day in the city
_PLACES = 2


def bench_years(servers: Servers, days: int) -> dict[str, float]:
    """Seconds and peak MiB of a backfill of so many days, one observation an hour at each of a few places."""
    city = make_city(_PLACES)
    catalogue = servers.home.path / "small.toml"
    write_catalogue(city, catalogue)
    made = servers.make_database(servers.name("bench_years"), "template0")
    engine = make_engine(made.url(), "benchmark", BATCH_TIMEOUTS)
    try:
        upgrade(engine)
        with transaction(engine) as database:
            claim(database, city, _FIRST, timedelta(hours=1))
        fill_history(made, _MIDNIGHT, days * 24, per_hour=1)
        environment = dagster_environment(servers, made, servers.name("no-topic"), catalogue, _FIRST.isoformat())
        figures = json.loads(python(["-m", "benchmarks.batch.years_run", _FIRST.isoformat(), str(days)], environment))
        _check(made, days)
    finally:
        engine.dispose()
        servers.drop_database(made.name)
    return {f"years.{days}.{name}": value for name, value in figures.items()}


def _check(database: Database, days: int) -> None:
    with database.connect() as connection:
        row = connection.execute(
            "select (select count(*) from published_hours), "
            "(select count(*) from batch_aggregations where hour is null)"
        ).fetchone()
    if row != (days * 24, days * _PLACES):
        raise RuntimeError(f"{days} days are {days * 24} hours; published hours and daily rows: {row} ({TIMEZONE}).")
