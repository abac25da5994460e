"""What a publish is measured by: the bare aggregation of the same raw rows, and the first system's way of asking."""

import statistics
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg

from benchmarks.batch.history import HOUR
from benchmarks.batch.instruments import processor_seconds
from benchmarks.observations import TIMEZONE

_TARGET = """
    hour_start, location, date, hour, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum,
    traffic_count, min_traffic, max_traffic, speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb,
    ratio_count, min_ratio, max_ratio
"""
_INSERT = f"""
insert into bare ({_TARGET})
select
    hour_start, location, min(city_date), extract(hour from hour_start at time zone '{TIMEZONE}'), count(*),
    coalesce(sum(aqi_value), 0), count(aqi_value), min(aqi_value), max(aqi_value),
    coalesce(sum(traffic_level), 0), count(traffic_level), min(traffic_level), max(traffic_level),
    coalesce(sum(round(current_speed * 1000)::bigint), 0), count(current_speed), min(current_speed), max(current_speed),
    coalesce(sum(round(congestion_ratio * 1e9)::bigint), 0), count(congestion_ratio), min(congestion_ratio),
    max(congestion_ratio)
from raw_data
where timestamp >= %s and timestamp < %s
group by hour_start, location
"""  # noqa: S608 - made of constants
Target = Literal["same", "keyed"]
_TABLES: dict[Target, tuple[str, ...]] = {
    "same": ("create table bare (like batch_aggregations including all)",),
    "keyed": (
        "create table bare (like batch_aggregations including defaults including generated)",
        "alter table bare alter id drop not null",
        "alter table bare add primary key (hour_start, location)",
    ),
}
_FIRST_TABLE = """
create temporary table first_system (
    id serial primary key, date date, hour integer, location varchar(100), avg_aqi double precision,
    avg_traffic double precision, max_aqi integer, max_traffic integer, min_aqi integer, min_traffic integer,
    data_points_count integer, is_peak_hour boolean, created_at timestamptz default now(),
    unique (date, hour, location)
)
"""
_FIRST = """
insert into first_system (
    date, hour, location, avg_aqi, avg_traffic, max_aqi, max_traffic, min_aqi, min_traffic, data_points_count,
    is_peak_hour
)
select
    date(timestamp), extract(hour from timestamp), location, avg(aqi_value), avg(traffic_level), max(aqi_value),
    max(traffic_level), min(aqi_value), min(traffic_level), count(*), bool_or(is_peak_hour)
from raw_data
where date(timestamp) = %s and extract(hour from timestamp) = %s
group by date(timestamp), extract(hour from timestamp), location
on conflict (date, hour, location) do update set avg_aqi = excluded.avg_aqi, avg_traffic = excluded.avg_traffic
"""


@dataclass(frozen=True)
class Bare:
    """Seconds of wall and of the backend's processor time."""

    seconds: float
    cpu: float


def aggregate(
    connection: psycopg.Connection, start: datetime, hours: int, target: Target, *, at_once: bool = False
) -> Bare:
    """INSERT ... SELECT of the hours, one after the other on the index, a commit each; or all in one statement."""
    for statement in _TABLES[target]:
        connection.execute(statement.encode())
    spans = (
        [(start, start + hours * HOUR)]
        if at_once
        else [(start + n * HOUR, start + (n + 1) * HOUR) for n in range(hours)]
    )
    pid = connection.info.backend_pid
    started, cpu = time.perf_counter(), processor_seconds(pid)
    for span in spans:
        connection.execute(_INSERT, span)
    return Bare(time.perf_counter() - started, processor_seconds(pid) - cpu)


def first_system(connection: psycopg.Connection, start: datetime, hours: int, samples: int) -> Bare:
    """The first system's SQL for a few hours spread over the range, times the number of hours (the median of them)."""
    connection.execute(_FIRST_TABLE)
    walls, cpus = [], []
    pid = connection.info.backend_pid
    for number in range(samples):
        hour = start + (number * hours // samples) * HOUR
        started, cpu = time.perf_counter(), processor_seconds(pid)
        connection.execute(_FIRST, [hour.date(), hour.hour])
        walls.append(time.perf_counter() - started)
        cpus.append(processor_seconds(pid) - cpu)
    connection.execute("drop table first_system")
    return Bare(statistics.median(walls) * hours, statistics.median(cpus) * hours)


def main(url: str, start: str, hours: str) -> None:
    """As a process of its own: hour by hour, into the table with the same indexes."""
    with psycopg.connect(url, autocommit=True, application_name="benchmark") as connection:
        aggregate(connection, datetime.fromisoformat(start), int(hours), "same")


if __name__ == "__main__":
    main(*sys.argv[1:])
