"""Millions of raw rows, made in SQL: what days of polling would have left in `raw_data`.

The union's rules hold: the rows are of one log partition, below its frontier, counted in `raw_hours`, not published.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg

from benchmarks.observations import TIMEZONE
from benchmarks.servers import Database

HOUR = timedelta(hours=1)
END = datetime(2025, 6, 9, 5, tzinfo=UTC)  # noon in the city: the next hour is in the middle of its day
PER_HOUR = 12  # observations of a location
COLUMNS = """
    location, timestamp, hour_start, city_date, latitude, longitude, aqi_value, aqi_category, traffic_level,
    current_speed, free_flow_speed, congestion_ratio, road_closure, is_peak_hour, pollutants, source, log_partition,
    log_offset
"""
# One in 20 has no air, one in 50 no traffic, like the stream of the other benchmarks.
_ROWS = """
select
    place.name, at, date_trunc('hour', at, 'UTC'), (at at time zone '{timezone}')::date, latitude, longitude,
    case when noise % 20 <> 0 then 20 + place.number % 130 + noise % 30 end, 'Moderate',
    case when noise % 50 <> 1 then 1 + noise % 5 end,
    case when noise % 50 <> 1 then speed end, case when noise % 50 <> 1 then free end,
    case when noise % 50 <> 1 then round(((free - speed) / free)::numeric, 9)::float8 end,
    case when noise % 50 <> 1 then false end, false,
    case when noise % 20 <> 0 then jsonb_build_object(
        'co', 2.3, 'h', 60 + noise % 35, 'no2', 2.3, 'o3', 29.4, 'p', 1009.5, 'pm10', noise % 60, 'pm25', noise % 110,
        'so2', 2.3, 't', 26, 'w', 1.4) end,
    'kafka', {partition}::smallint, slot * {places} + place.number
from generate_series({first}, {until} - 1) slot
cross join lateral (select timestamptz '{start}' + slot * interval '{seconds} seconds' as at) moment
cross join (select *, row_number() over (order by name) - 1 as number from locations) place
cross join lateral (
    select ((slot * {places} + place.number) * 2654435761 >> 7) & 65535 as noise,
           30.0::float8 + place.number % 50 as free
) made
cross join lateral (select round(free * (0.35 + noise % 61 / 100.0)) as speed) driven
order by slot, name
"""
_COUNTS = (
    "insert into raw_hours select hour_start, log_partition, min(city_date), count(*), max(log_offset) "
    "from raw_data group by hour_start, log_partition",
    "insert into raw_frontier select log_partition, max(max_offset) + 1 from raw_hours group by log_partition",
)
SPEED_HOLDS = (
    f"insert into realtime_data ({COLUMNS}) select {COLUMNS} from raw_data "  # noqa: S608 - made of constants
    "where timestamp >= %(hour)s and timestamp < %(hour)s + interval '1 hour' order by location, timestamp",
    "insert into realtime_hourly "
    "select hour_start, location, min(city_date), extract(hour from hour_start at time zone %(timezone)s), count(*), "
    "coalesce(sum(aqi_value), 0), count(aqi_value), min(aqi_value), max(aqi_value), "
    "coalesce(sum(traffic_level), 0), count(traffic_level), min(traffic_level), max(traffic_level), "
    "coalesce(sum(round(current_speed * 1000)::bigint), 0), count(current_speed), min(current_speed), "
    "max(current_speed), coalesce(sum(round(congestion_ratio * 1e9)::bigint), 0), count(congestion_ratio), "
    "min(congestion_ratio), max(congestion_ratio) "
    "from realtime_data where hour_start = %(hour)s group by hour_start, location",
)


def fill_history(database: Database, start: datetime, hours: int, per_hour: int = PER_HOUR) -> int:
    """Fill an empty database with so many hours from `start` on; returns how many raw rows that are.

    Month by month into a table whose indexes are built afterwards and that then becomes a partition.
    """
    with database.connect() as connection:
        partition, places = _one(
            connection,
            "with made as "
            "(insert into log_partitions (log_id, topic, partition) values (%s, 'history', 0) returning id) "
            "select id, (select count(*) from locations) from made",
            str(uuid4()),
        )
        connection.execute("set maintenance_work_mem = '512MB'")
        for month, until in _months(start, start + hours * HOUR):
            name = f"raw_data_{month:%Y_%m}"
            connection.execute(
                f"create table {name} (like raw_data including all excluding identity excluding indexes)"
            )
            slots = [int((max(month, start) - start) / HOUR * per_hour), int((until - start) / HOUR * per_hour)]
            for first in range(slots[0], slots[1], 240):
                rows = rows_of_slots(start, first, min(first + 240, slots[1]), partition, places, per_hour)
                _run(
                    connection,
                    f"insert into {name} (id, {COLUMNS}) select nextval('raw_data_id_seq'), r.* from ({rows}) r",  # noqa: S608 - made of constants
                )
            connection.execute(f"alter table {name} add primary key (location, timestamp)")
            connection.execute(f"create index on {name} (timestamp)")
            connection.execute(f"alter table {name} owner to lambda_owner")
            after = (month + timedelta(days=32)).replace(day=1)
            connection.execute(
                f"alter table raw_data attach partition {name} for values from ('{month}') to ('{after}')"
            )
        for statement in _COUNTS:
            connection.execute(statement)
        connection.execute("vacuum (analyze)")
        (rows,) = _one(connection, "select sum(rows)::bigint from raw_hours")
    return int(rows)


def rows_of_slots(start: datetime, first: int, until: int, partition: int, places: int, per_hour: int) -> str:
    """A query for the observations of the slots [first, until) after `start`, with the columns `COLUMNS`."""
    return _ROWS.format(
        timezone=TIMEZONE, partition=partition, places=places, start=start.isoformat(), seconds=3600 // per_hour,
        first=first, until=until,
    )  # fmt: skip


def fill_speed(connection: psycopg.Connection, hour: datetime) -> None:
    """Let the speed layer hold all that raw_data has of an hour, from the same positions."""
    for statement in SPEED_HOLDS:
        connection.execute(statement, {"hour": hour, "timezone": TIMEZONE})


def unpublish(connection: psycopg.Connection) -> None:
    """As if nothing had been published; from a checkpoint, so that all runs start alike."""
    connection.execute("truncate batch_aggregations, city_hourly, batch_coverage, published_hours, computed_days")
    connection.execute("drop table if exists bare")
    connection.execute("checkpoint")


def _months(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Each month's first instant, and where the hours in it end."""
    month = start.replace(day=1, hour=0)
    while month < end:
        after = (month + timedelta(days=32)).replace(day=1)
        yield month, min(after, end)
        month = after


def _run(connection: psycopg.Connection, statement: str) -> None:
    connection.execute(statement.encode())


def _one(connection: psycopg.Connection, query: str, *values: object) -> tuple[int, ...]:
    row = connection.execute(query.encode(), values or None).fetchone()
    assert row is not None
    return tuple(row)
