"""Databases that already hold millions of rows, of the flood's locations and of the hours just before it.

So the flood's keys fall into the same months and the same indexes. What is filled keeps the union's rules: raw rows
are of the import log, below its frontier and covered (published); realtime rows are of a log of their own whose
offset is stored, and are summed in `realtime_hourly`.
"""

from datetime import datetime, timedelta
from uuid import uuid4

import psycopg

from benchmarks.observations import SLOT, TIMEZONE
from benchmarks.servers import Database, Servers
from lambda_pipeline.storage.log_partitions import IMPORT_LOG

_COLUMNS = """
    timestamp, location, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
    current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source, log_partition,
    log_offset
"""
_ROWS = """
select at, name, date_trunc('hour', at, 'UTC'), (at at time zone %(timezone)s)::date, latitude, longitude,
       20 + number % 200, 'Moderate', 1 + number % 5, 20 + number % 40, 60, (20 + number % 40) / 60.0, false, false,
       '{"co": 2.3, "h": 80, "no2": 2.3, "o3": 29.4, "pm10": 12, "pm25": 57, "so2": 2.3, "t": 26, "w": 1.4}',
       'benchmark', %(partition)s, slot * (select count(*) from locations) + number
from generate_series(0, %(slots)s - 1) slot
cross join lateral (select %(start)s::timestamptz + slot * %(every)s::interval as at) moment
cross join (select *, row_number() over (order by name) - 1 as number from locations) place
order by slot, name
"""
_RAW = (
    f"insert into raw_data ({_COLUMNS}) {_ROWS}",
    "insert into raw_hours select hour_start, log_partition, min(city_date), count(*), max(log_offset) "
    "from raw_data group by hour_start, log_partition",
    "insert into raw_frontier select log_partition, max(max_offset) + 1 from raw_hours group by log_partition",
    "insert into batch_coverage select h.hour_start, h.log_partition, f.next_offset "
    "from raw_hours h join raw_frontier f using (log_partition)",
    "insert into published_hours (hour_start, city_date, publication, run_id, engine, rows) "
    "select hour_start, city_date, nextval('publication_sequence'), 'benchmark', 'postgres', rows from raw_hours",
)
_REALTIME = (
    f"insert into realtime_data ({_COLUMNS}) {_ROWS}",
    "insert into stream_offsets select log_partition, max(log_offset) + 1 from realtime_data group by log_partition",
    "insert into realtime_hourly "
    "select hour_start, location, min(city_date), extract(hour from hour_start at time zone %(timezone)s), count(*), "
    "sum(aqi_value), count(*), min(aqi_value), max(aqi_value), "
    "sum(traffic_level), count(*), min(traffic_level), max(traffic_level), "
    "sum(round(current_speed * 1000)::bigint), count(*), min(current_speed), max(current_speed), "
    "sum(round(congestion_ratio * 1e9)::bigint), count(*), min(congestion_ratio), max(congestion_ratio) "
    "from realtime_data group by hour_start, location",
)


def make_filled(servers: Servers, before: datetime, raw_rows: int, realtime_rows: int) -> Database:
    """A template database with so many rows (rounded down to whole slots) that end at `before` (aware UTC)."""
    made = servers.make_database(servers.name("bench_filled"))
    places = len(servers.city.locations)
    realtime_start = before - realtime_rows // places * SLOT
    raw_start = realtime_start - raw_rows // places * SLOT
    with made.connect() as connection:
        month = raw_start
        while month < before + timedelta(days=31):
            connection.execute("select ensure_raw_partition(%s)", [month])
            month += timedelta(days=28)
        _fill(connection, _RAW, str(IMPORT_LOG), raw_start, raw_rows // places)
        _fill(connection, _REALTIME, str(uuid4()), realtime_start, realtime_rows // places)
        connection.execute("vacuum (analyze)")
    return made


def _fill(connection: psycopg.Connection, statements: tuple[str, ...], log: str, start: datetime, slots: int) -> None:
    if slots == 0:
        return
    row = connection.execute(
        "insert into log_partitions (log_id, topic, partition) values (%s, 'before the flood', 0) returning id", [log]
    ).fetchone()
    assert row is not None
    values = {"partition": row[0], "start": start, "slots": slots, "every": SLOT, "timezone": TIMEZONE}
    with connection.transaction():
        for statement in statements:
            # psycopg reads every % of a statement with values; these have none but the placeholders and a modulo
            connection.execute(_escape(statement), values)


def _escape(statement: str) -> bytes:
    return statement.replace(" % ", " %% ").encode()
