"""A city's month as both layers would have left it, made in SQL: hours, days, the hour that goes on, and raw rows.

The newest hours have their raw rows and are published by the product; of the hours before them there are results only,
as after raw rows were archived. The day's tables are the product's as well, so that every day is fresh.
"""

import os
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import psycopg

from benchmarks.batch.history import COLUMNS, PER_HOUR, SPEED_HOLDS, fill_history, rows_of_slots
from benchmarks.observations import TIMEZONE
from benchmarks.servers import Database
from lambda_pipeline.batch.days import compute_days
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.domain.city_time import HOUR, CityClock
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine
from lambda_pipeline.storage.sql import sql_text

RAW_HOURS = 8  # of which raw_data holds the observations: 960,000 of 10,000 locations
_LATE = 500  # locations of which an observation of the hour before came late
_LETTERS = 250
# Rush hours in the city's time, places that differ, and noise; one hour of a location in 50 has no air.
_HOURS = """
insert into batch_aggregations (
    date, hour, hour_start, location, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi,
    traffic_sum, traffic_count, min_traffic, max_traffic, speed_sum_m_h, speed_count, min_speed, max_speed,
    ratio_sum_ppb, ratio_count, min_ratio, max_ratio, expected_count, is_peak_hour
)
select
    (at at time zone '{timezone}')::date, city_hour, at, place.name, count,
    case when has_air then aqi * count + noise % count else 0 end, case when has_air then count else 0 end,
    case when has_air then aqi - noise % 9 end, case when has_air then aqi + 1 + noise % 25 end,
    level * (count - 1) + least(level + 1, 5), count, level, least(level + 1, 5),
    (1000 * free * (1 - ratio))::bigint * count, count, free * (1 - ratio) - 3, free * (1 - ratio) + 3,
    round(1e9 * ratio)::bigint * count, count, ratio - 0.05, ratio + 0.05, 12, false
from generate_series(timestamptz '{first}', timestamptz '{until}' - interval '1 hour', interval '1 hour') at
cross join lateral (
    select extract(hour from at at time zone '{timezone}')::integer as city_hour,
           extract(epoch from at)::bigint / 3600 % 100000 as number
) moment
cross join lateral (
    select (exp(-power((city_hour - 8) / 2.0, 2)) + 1.1 * exp(-power((city_hour - 18) / 2.2, 2)))::float8 as rush
    offset 0  -- once an hour
) day
cross join (select *, row_number() over (order by name) - 1 as number from locations) place
cross join lateral (
    select ((moment.number * 10000 + place.number) * 2654435761 >> 7) & 65535 as noise,
           30.0::float8 + place.number % 50 as free
    offset 0
) made
cross join lateral (
    select 10 + noise % 3 as count, noise % 50 <> 0 as has_air,
           (15 + place.number % 140 + 60 * rush + noise % 40)::integer as aqi,
           least(0.9, 0.05 + 0.5 * rush + noise % 100 / 400.0::float8 + place.number % 10 / 100.0::float8) as ratio
    offset 0
) drawn
cross join lateral (
    select (1 + (ratio >= 0.1)::int + (ratio >= 0.3)::int + (ratio >= 0.5)::int + (ratio >= 0.7)::int) as level
    offset 0
) judged
order by at, place.name
"""
_PUBLISHED = (
    "insert into published_hours (hour_start, city_date, publication, run_id, engine, rows) "
    "select hour_start, date, nextval('publication_sequence'), 'benchmark', 'postgres', data_points_count "
    "from city_hourly order by hour_start",
    "insert into batch_coverage select hour_start, id, 1 from city_hourly cross join log_partitions",
)
_NEWEST = (
    "insert into incoming (location, timestamp, latitude, longitude, aqi_value, aqi_category, traffic_level, "
    "current_speed, free_flow_speed, road_closure, pollutants, log_partition, log_offset, aqi_measured_at, "
    "dominant_pollutant, attributions) "
    "select location, timestamp, latitude, longitude, aqi_value, aqi_category, traffic_level, current_speed, "
    "free_flow_speed, road_closure, pollutants::text, log_partition, log_offset, "
    "case when aqi_value is not null then hour_start end, case when aqi_value is not null then 'pm25' end, "
    """case when aqi_value is not null then '[{"name": "World Air Quality Index Project", "url": "https://waqi.info/"},"""
    """ {"name": "BMKG", "url": "http://www.bmkg.go.id/"}]' end """
    "from realtime_data"
)


@dataclass(frozen=True)
class Filled:
    """What a filled database holds: city days [first, until), the hour that goes on, and rows by table."""

    first: date
    until: date
    open_hour: datetime
    rows: dict[str, int]


def fill(database: Database, days: int, now: datetime) -> Filled:
    """Fill an empty database with this many whole days before today, and today up to `now` (aware)."""
    clock = CityClock(TIMEZONE)
    today, open_hour = clock.city_date(now), clock.hour_start(now)
    first = today - timedelta(days=days)
    start = open_hour - RAW_HOURS * HOUR
    with database.connect() as connection:
        connection.execute("update deployment set history_start = least(history_start, %s)", (first,))
    fill_history(database, start, RAW_HOURS)
    with database.connect() as connection:
        connection.execute("set maintenance_work_mem = '512MB'")
        _fill_hours(connection, clock.day_start(first), start)
    _publish(database, first, today + timedelta(days=1))
    slots = max(1, int((now - open_hour) / HOUR * PER_HOUR) + 1)
    with database.connect() as connection:
        _fill_speed(connection, start, open_hour, slots)
        connection.execute("vacuum (analyze)")
        connection.execute("checkpoint")
    return describe(database, days, open_hour)


def describe(database: Database, days: int, open_hour: datetime) -> Filled:
    """What a filled database holds."""
    counts = {
        "batch_aggregations": "select count(*) from batch_aggregations where hour is not null",
        "daily rows": "select count(*) from batch_aggregations where hour is null",
        "raw_data": "select sum(rows)::bigint from raw_hours",
        "realtime_data": "select count(*) from realtime_data",
        "locations": "select count(*) from locations",
    }
    with database.connect() as connection:
        rows = {name: int((connection.execute(query).fetchone() or (0,))[0]) for name, query in counts.items()}
    today = CityClock(TIMEZONE).city_date(open_hour)
    return Filled(today - timedelta(days=days), today + timedelta(days=1), open_hour, rows)


def _fill_hours(connection: psycopg.Connection, first: datetime, until: datetime) -> None:
    """Hourly results without raw rows, in the order in which publishes leave them; the indexes are built at the end."""
    indexes = connection.execute(
        "select indexname, indexdef from pg_indexes where tablename = 'batch_aggregations' and indexdef !~ '_pkey'"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"drop index {name}")
    day = timedelta(days=1)
    while first < until:
        values = {"timezone": TIMEZONE, "first": first.isoformat(), "until": min(first + day, until).isoformat()}
        connection.execute(_HOURS.format(**values).encode())
        first += day
    for _, definition in indexes:
        connection.execute(str(definition).encode())
    connection.execute("analyze batch_aggregations")
    # the publish's own statement makes the city's hours
    connection.execute("create temporary view prepared_aggregations as select * from batch_aggregations")
    connection.execute("create temporary table prepared_cities (like city_hourly)")
    connection.execute(sql_text("batch/prepare_cities").encode())
    connection.execute("insert into city_hourly select * from prepared_cities order by hour_start")
    for statement in _PUBLISHED:
        connection.execute(statement.encode())


def _publish(database: Database, first: date, until: date) -> None:
    """The hours that have raw rows, and the days' rows of all."""
    engine = make_engine(database.url(), "benchmark", BATCH_TIMEOUTS)
    try:
        publish_hours(engine, hours_to_publish(engine, first, until), TIMEZONE, f"benchmark {os.getpid()}")
        compute_days(engine, "daily_aggregations", first, until, "benchmark")
    finally:
        engine.dispose()


def _fill_speed(connection: psycopg.Connection, start: datetime, open_hour: datetime, slots: int) -> None:
    """The hour that goes on, a few late observations of the hour before it, the newest values, dead letters."""
    partition, places = connection.execute(
        "select (select id from log_partitions), (select count(*) from locations)"
    ).fetchone() or (0, 0)
    first = RAW_HOURS * PER_HOUR
    rows = rows_of_slots(start, first, first + slots, partition, places, PER_HOUR)
    connection.execute(f"insert into realtime_data ({COLUMNS}) {rows}".encode())
    late = COLUMNS.replace("timestamp", "timestamp + interval '1 minute'").replace(
        "log_offset", "log_offset + 1000000000"
    )
    connection.execute(
        f"insert into realtime_data ({COLUMNS}) select {late} from raw_data where timestamp = %s "  # noqa: S608 - made of constants
        "order by location limit %s".encode(),
        (open_hour - HOUR / 2, _LATE),
    )
    for hour in (open_hour - HOUR, open_hour):
        connection.execute(SPEED_HOLDS[1], {"hour": hour, "timezone": TIMEZONE})
    with connection.transaction():
        connection.execute(sql_text("storage/create_incoming").encode())
        connection.execute(_NEWEST.encode())
        connection.execute(sql_text("storage/upsert_latest").encode())
    connection.execute(
        "insert into stream_offsets select log_partition, max(log_offset) + 1 from realtime_data group by 1"
    )
    connection.execute(
        "insert into dead_letters (log_partition, log_offset, appended_at, key, payload, error) "
        "select %s, 2000000000 + number, %s + number * interval '1 second', 'Kelurahan', "
        "convert_to(repeat('{\"aqi_value\": \"much\"}', 200), 'UTF8'), 'aqi_value: not a number' "
        "from generate_series(1, %s) number",
        (partition, open_hour, _LETTERS),
    )
