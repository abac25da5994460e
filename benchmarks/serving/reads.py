"""What is read, what stands beside it, and how long each takes: a call, its rows as a frame, the snapshot included."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import sqlalchemy as sa

from benchmarks.report import percentile
from benchmarks.serving.fill import Filled
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.serving import raw
from lambda_pipeline.serving.layer import ServingLayer, ServingView
from lambda_pipeline.serving.raw_choice import EVERYTHING, RawFilter, RawSort
from lambda_pipeline.storage.sql import sql

_NAIVE_STATISTICS = """
select location, sum(aqi_sum) / nullif(sum(aqi_count), 0), sum(traffic_sum) / nullif(sum(traffic_count), 0),
    sum(data_points_count)
from served_hourly where hour_start >= :start_at and hour_start < :end_at group by location
"""
_NAIVE_CITY = """
select hour_start, sum(aqi_sum) / nullif(sum(aqi_count), 0), sum(traffic_sum) / nullif(sum(traffic_count), 0)
from served_hourly where hour_start >= :start_at and hour_start < :end_at group by hour_start
"""
_NAIVE_DISTRIBUTION = """
select aqi_category(avg_aqi), count(*)
from served_hourly where hour_start >= :start_at and hour_start < :end_at group by 1
"""


@dataclass(frozen=True)
class Read:
    """One read. `alone` is its statement, for psycopg without a frame; `naive` one over every hourly row.

    `goal` is of the 95th percentile, in milliseconds.
    """

    what: str
    call: Callable[[ServingView], object]
    alone: sa.ClauseElement
    goal: float | None = None
    naive: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)  # other than the range's


@dataclass(frozen=True)
class Range:
    """The city days that are asked for, [first, until)."""

    first: date
    until: date

    def values(self, clock: CityClock) -> dict[str, Any]:
        """As the statements take them."""
        instants = {"start_at": clock.day_start(self.first), "end_at": clock.day_start(self.until)}
        return {"start": self.first, "end": self.until, "locations": None, **instants}


def reads_of(filled: Filled, names: list[str], days: Range) -> dict[str, Read]:
    """Every read that a page makes of a city, by a short name."""
    one, twenty = names[:1], names[:: max(1, len(names) // 20)][:20]
    span = days.first, days.until
    at_one, at_twenty = {"locations": one}, {"locations": twenty}
    past: datetime = filled.open_hour - timedelta(days=2)
    filtered = RawFilter(traffic_levels=(4, 5), is_peak_hour=False)
    newest: dict[str, Any] = {"descending": True, "limit": 500, "offset": 0}
    return {
        "conditions": Read("current conditions", lambda v: v.get_combined_heatmap_data(), sql("serving/heatmap"), 50),
        "freshness": Read("freshness of both layers", lambda v: v.get_freshness(), sql("serving/freshness"), 50),
        "city": Read(
            "hours of the city", lambda v: v.get_city_hourly(*span), sql("serving/city_hourly"), 50, _NAIVE_CITY
        ),
        "hour.open": Read(
            "the hour that goes on, by location", lambda v: v.get_hour(filled.open_hour), sql("serving/hour"), 50,
            values={"hour_start": filled.open_hour},
        ),
        "hour.past": Read(
            "a past hour, by location", lambda v: v.get_hour(past), sql("serving/hour"), 50,
            values={"hour_start": past},
        ),
        "distribution": Read(
            "distribution over bands", lambda v: v.get_distribution(*span), sql("serving/distribution"), 50,
            _NAIVE_DISTRIBUTION,
        ),
        "statistics": Read(
            "statistics and ranking of all locations", lambda v: v.get_statistics(*span), sql("serving/statistics"),
            300, _NAIVE_STATISTICS,
        ),
        "one.city": Read(
            "hours of one location", lambda v: v.get_city_hourly(*span, one), sql("serving/city_hourly_of"), 50,
            values=at_one,
        ),
        "one.statistics": Read(
            "statistics of one location", lambda v: v.get_statistics(*span, one), sql("serving/statistics"), 50,
            values=at_one,
        ),
        "one.distribution": Read(
            "distribution of one location", lambda v: v.get_distribution(*span, one), sql("serving/distribution_of"),
            50, values=at_one,
        ),
        "one.peaks": Read(
            "observed peaks of one location", lambda v: v.get_observed_peaks(*span, one), sql("serving/observed_peaks"),
            50, values=at_one,
        ),
        "twenty.peaks": Read(
            "observed peaks of 20 locations", lambda v: v.get_observed_peaks(*span, twenty),
            sql("serving/observed_peaks"), values=at_twenty,
        ),
        "raw.newest": Read(
            "raw data, the newest 500", lambda v: v.get_raw_data(*span),
            raw.page(None, EVERYTHING, RawSort.TIMESTAMP, **newest),
        ),
        "raw.filtered": Read(
            "raw data, the newest 500 of a filter", lambda v: v.get_raw_data(*span, where=filtered),
            raw.page(None, filtered, RawSort.TIMESTAMP, **newest),
        ),
        "raw.sorted": Read(
            "raw data, the 500 of the highest AQI", lambda v: v.get_raw_data(*span, sort=RawSort.AQI),
            raw.page(None, EVERYTHING, RawSort.AQI, **newest),
        ),
        "raw.count": Read(
            "raw data of a filter, counted up to 100,000", lambda v: v.count_raw_data(*span, where=filtered),
            raw.count(None, filtered, 100_000),
        ),
        "letters": Read(
            "dead letters, the newest 100", lambda v: v.get_dead_letters(), sql("serving/dead_letters"),
            values={"limit": 100, "offset": 0, "bytes": 2_000},
        ),
    }  # fmt: skip


def time_read(
    layer: ServingLayer, bare: psycopg.Connection, read: Read, values: Mapping[str, Any], calls: int
) -> dict[str, float]:
    """Milliseconds: p50 and p95 of the calls, and of the statement alone, turn by turn."""
    query, bound = _compiled(read.alone, {**values, **read.values})
    bare.execute("set plan_cache_mode = force_custom_plan")  # a prepared plan for any values takes seconds
    ours, theirs = [], []
    for number in range(-2, calls):  # two to warm up
        start = time.perf_counter()
        with layer.snapshot() as view:
            read.call(view)
        middle = time.perf_counter()
        with bare.transaction():
            bare.execute("set transaction isolation level repeatable read, read only")
            bare.execute(query, bound).fetchall()
        end = time.perf_counter()
        if number >= 0:
            ours.append((middle - start) * 1000)
            theirs.append((end - middle) * 1000)
    return {
        "p50": percentile(ours, 0.5),
        "p95": percentile(ours, 0.95),
        "alone.p50": percentile(theirs, 0.5),
        "alone.p95": percentile(theirs, 0.95),
    }


def time_naive(bare: psycopg.Connection, query: str, values: Mapping[str, Any]) -> float:
    """Milliseconds of one run over all hourly rows."""
    text, bound = _compiled(sa.text(query), values)
    start = time.perf_counter()
    bare.execute(text, bound).fetchall()
    return (time.perf_counter() - start) * 1000


def _compiled(statement: sa.ClauseElement, values: Mapping[str, Any]) -> tuple[bytes, Mapping[str, Any]]:
    compiled = statement.compile(dialect=sa.create_engine("postgresql+psycopg://").dialect)
    return str(compiled).encode(), compiled.construct_params(dict(values)) or {}
