"""Python's and SQL's answers to the rules of the domain agree over the whole input range."""

import math
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from lambda_pipeline.domain.air_quality import AQI_BANDS, aqi_category
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.peak_hours import (
    DEFAULT_PEAK_WINDOWS,
    OBSERVED_PEAK_RULES,
    PeakWindow,
    is_peak_hour,
    observed_peaks,
)
from lambda_pipeline.domain.traffic import TRAFFIC_LEVELS, congestion_ratio, traffic_level, traffic_level_name
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.observations import HOUR
from lambda_pipeline_tests.integration.serving.data import Log, message
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

ZONES = ["Asia/Jakarta", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "America/Los_Angeles"]
FIRST, LAST = datetime(2012, 1, 1, tzinfo=UTC), datetime(2035, 1, 1, tzinfo=UTC)


def column(database: Database, query: str, values: list[Any]) -> list[tuple[Any, ...]]:
    """The rows of a query over `input(v, n)`, as the reader, in the order of the values."""
    with transaction(database.reader, read_only=True) as connection:
        return [tuple(row) for row in connection.execute(sa.text(f"{query} order by n"), {"values": values})]


# ---------------------------------------------------------------- AQI


def test_aqi_category(database: Database) -> None:
    dice = random.Random(1)
    values: list[float | None] = [None, math.nan, *map(float, range(1001)), *(half + 0.5 for half in range(1001))]
    values += [dice.uniform(0, 1000) for _ in range(20_000)]
    for band in AQI_BANDS[:-1]:
        values += [math.nextafter(band.upper, 0), math.nextafter(band.upper, 1e9)]
    found = column(
        database, "select aqi_category(v) from unnest(cast(:values as float8[])) with ordinality i(v, n)", values
    )
    assert [category for (category,) in found] == [aqi_category(value) for value in values]


def test_ranks_are_the_bands_of_categories_and_level_names(database: Database) -> None:
    dice = random.Random(2)
    values: list[float | None] = [None, math.nan, *(count / 4 for count in range(4004))]
    values += [dice.uniform(0, 1000) for _ in range(20_000)] + [dice.uniform(0.5, 5.5) for _ in range(20_000)]
    for edge in [float(band.upper) for band in AQI_BANDS[:-1]] + [1.5, 2.5, 3.5, 4.5]:
        values += [math.nextafter(edge, 0), edge, math.nextafter(edge, 1e9)]
    found = column(
        database,
        "select air.band, road.band from unnest(cast(:values as float8[])) with ordinality i(v, n) "
        "left join measure_bands air on air.measure = 'aqi' and air.rank = aqi_rank(v, aqi_limits()) "
        "left join measure_bands road on road.measure = 'traffic' and road.rank = traffic_rank(v)",
        values,
    )
    expected = [(aqi_category(value), traffic_level_name(value)) for value in values]
    assert [(air or "Unknown", road or "Unknown") for air, road in found] == expected


def test_the_bands_are_the_domains_in_its_order(database: Database) -> None:
    found = [tuple(row) for row in database.rows("select measure, band, rank from measure_bands order by 1, 3")]
    assert found == [
        *(("aqi", band.category, rank) for rank, band in enumerate(AQI_BANDS, 1)),
        *(("traffic", band.name, rank) for rank, band in enumerate(TRAFFIC_LEVELS, 1)),
    ]
    assert database.scalar("select aqi_categories()") == [band.category for band in AQI_BANDS]


def test_the_reference_tables_are_the_domains(database: Database) -> None:
    bands = database.rows("select upper, category, colour from aqi_bands order by upper")
    assert [tuple(row) for row in bands] == [(band.upper, band.category, band.colour) for band in AQI_BANDS]
    levels = database.rows("select level, below, name, english from traffic_levels order by level")
    assert [tuple(row) for row in levels] == [(b.level, b.below, b.name, b.english) for b in TRAFFIC_LEVELS]
    rules = database.rows(
        "select measure, share, least_days, least_range from observed_peak_rules order by measure desc"
    )
    assert [tuple(row) for row in rules] == [
        (r.measure, r.share, r.least_days, r.least_range) for r in OBSERVED_PEAK_RULES
    ]


# ---------------------------------------------------------------- peak hours


@pytest.mark.parametrize(
    "windows",
    [
        DEFAULT_PEAK_WINDOWS,
        (),
        (PeakWindow(0, 24),),
        (PeakWindow(0, 1), PeakWindow(23, 24)),
        (PeakWindow(7, 9), PeakWindow(9, 10), PeakWindow(17, 19)),
    ],
    ids=lambda windows: "+".join(map(str, windows)) or "none",
)
def test_is_peak_hour(database: Database, windows: tuple[PeakWindow, ...]) -> None:
    with transaction(database.owner) as connection:
        connection.execute(sa.text("delete from peak_windows"))
        for window in windows:
            values = {"start": window.start_hour, "end": window.end_hour}
            connection.execute(sa.text("insert into peak_windows values (:start, :end)"), values)
    hours = list(range(24))
    found = column(
        database, "select is_peak_hour(v) from unnest(cast(:values as int[])) with ordinality i(v, n)", hours
    )
    assert [peak for (peak,) in found] == [is_peak_hour(hour, windows) for hour in hours]
    assert database.scalar("select peak_city_hours()") == [hour for hour in hours if is_peak_hour(hour, windows)]


def test_observed_peaks(database: Database) -> None:
    """Random days, flat ones, and hours observed too seldom, of which half the hours are the speed layer's."""
    dice = random.Random(3)
    log = Log(database)
    start, days = datetime(2025, 3, 2, 17, tzinfo=UTC), 10  # midnight in Jakarta, a Monday
    for place, height, lift in (("Cinere", 4, 300), ("Gunung", 0, 0), ("Krukut", 1, 15)):
        for hour in range(days * 24):
            level = 1 + dice.randint(0, height) if dice.random() < 0.6 else None
            aqi = 50 + dice.randint(0, lift) if dice.random() < 0.6 else None
            if hour % 24 == 5 and hour > 60:
                continue
            log.append(message(place, start + timedelta(hours=hour, minutes=7), aqi, level))
    log.consume()
    log.store(len(log.records) // 2)
    log.publish()
    rows = database.rows("select * from observed_peaks('2025-03-03', '2025-03-12')")  # not the last day
    expected: dict[tuple[str, bool, int], dict[str, list[int]]] = {}
    for one in log.records:
        seen = one.observation
        local = seen.timestamp + timedelta(hours=7)
        if local.date() < date(2025, 3, 12):
            values = expected.setdefault((seen.location, local.weekday() >= 5, local.hour), {"traffic": [], "aqi": []})
            values["traffic"] += [seen.traffic_level] if seen.traffic_level is not None else []
            values["aqi"] += [seen.aqi_value] if seen.aqi_value is not None else []
    assert {(row.location, row.is_weekend, row.hour) for row in rows} == expected.keys()
    found = {rule.measure: set() for rule in OBSERVED_PEAK_RULES}
    for rule in OBSERVED_PEAK_RULES:
        for kind in {(place, weekend) for place, weekend, _ in expected}:
            profile = {
                hour: (sum(values[rule.measure]) / len(values[rule.measure]), len(values[rule.measure]))
                for (place, weekend, hour), values in expected.items()
                if (place, weekend) == kind and values[rule.measure]
            }
            found[rule.measure] |= {(*kind, hour) for hour in observed_peaks(profile, rule)}
    assert {(row.location, row.is_weekend, row.hour) for row in rows if row.is_traffic_peak} == found["traffic"]
    assert {(row.location, row.is_weekend, row.hour) for row in rows if row.is_aqi_peak} == found["aqi"]
    assert {"Cinere"} < {place for place, _, _ in found["traffic"]} <= {"Cinere", "Krukut"}
    newest = database.rows("select * from observed_peak_hours")
    assert [tuple(row) for row in newest] == [
        tuple(row) for row in database.rows("select * from observed_peaks('2025-02-13', '2025-03-13')")
    ]


# ---------------------------------------------------------------- time


def switches(clock: CityClock) -> list[datetime]:
    """The hours in which the zone's clocks change, from its offset at the start of each hour around such a day."""
    found = []
    day = FIRST
    while day < LAST:
        if clock.local(day).utcoffset() != clock.local(day + timedelta(days=1)).utcoffset():
            hours = [day + timedelta(hours=step) for step in range(25)]
            offsets = [clock.local(hour).utcoffset() for hour in hours]
            found += [hour for hour, one, other in zip(hours[1:], offsets, offsets[1:], strict=False) if one != other]
        day += timedelta(days=1)
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_hours_and_days_of_a_city(database: Database, zone: str) -> None:
    clock, dice = CityClock(zone), random.Random(zone)
    span = int((LAST - FIRST).total_seconds() * 1_000_000)
    instants = [FIRST + timedelta(microseconds=dice.randrange(span)) for _ in range(5000)]
    for switch in switches(clock):
        instants += [switch + timedelta(minutes=15 * step) for step in range(-12, 13)]
        instants += [switch - timedelta(microseconds=1), switch + timedelta(hours=1, microseconds=-1)]
    found = column(
        database,
        f"select date_trunc('hour', v, '{zone}'), (v at time zone '{zone}')::date, "
        f"extract(hour from date_trunc('hour', v, '{zone}') at time zone '{zone}')::int "
        "from unnest(cast(:values as timestamptz[])) with ordinality i(v, n)",
        instants,
    )
    assert found == [clock.place(instant)[:3] for instant in instants]


@pytest.mark.parametrize("zone", ["America/New_York", "America/Los_Angeles"])
def test_clocks_that_change_are_among_the_instants(zone: str) -> None:
    assert len(switches(CityClock(zone))) == 2 * 23


@pytest.mark.parametrize("zone", ZONES)
def test_the_start_of_a_citys_day(database: Database, zone: str) -> None:
    clock = CityClock(zone)
    days = [FIRST.date() + timedelta(days=step) for step in range((LAST - FIRST).days)]
    found = column(
        database,
        f"select v::timestamp at time zone '{zone}' from unnest(cast(:values as date[])) with ordinality i(v, n)",
        days,
    )
    assert [start for (start,) in found] == [clock.day_start(day) for day in days]


@pytest.mark.parametrize(
    ("day", "starts"),
    [
        (date(2025, 3, 9), [5, 6, 7, 8]),  # 00, 01, 03 and 04 o'clock
        (date(2025, 11, 2), [4, 5, 6, 7]),  # 00, 01, 01 again and 02 o'clock
    ],
)
def test_the_hour_that_comes_twice_stays_two_hours_in_sql(database: Database, day: date, starts: list[int]) -> None:
    first = CityClock("America/New_York").day_start(day)
    minutes = [first + timedelta(minutes=minute) for minute in range(240)]
    found = column(
        database,
        "select date_trunc('hour', v, 'America/New_York') "
        "from unnest(cast(:values as timestamptz[])) with ordinality i(v, n)",
        minutes,
    )
    assert sorted({start for (start,) in found}) == [first.replace(hour=hour) for hour in starts]


# ---------------------------------------------------------------- traffic


def speeds() -> list[tuple[float | None, float | None]]:
    """Pairs of current and free-flow speed over the valid range, the awkward ones first."""
    dice = random.Random(2)
    pairs: list[tuple[float | None, float | None]] = [(None, None), (50, None), (None, 50), (50, 0), (0, 0), (0, 300)]
    pairs += [(float(now), float(free)) for free in range(1, 101) for now in range(0, free + 1, max(1, free // 20))]
    pairs += [(dice.uniform(0, 300), dice.uniform(0.001, 300)) for _ in range(2000)]
    pairs += [(round(dice.uniform(0, 120), 2), round(dice.uniform(0.01, 120), 2)) for _ in range(2000)]
    pairs += [(300.0, 0.001), (0.0, 0.001), (5e-324, 300.0), (255.75, 256.0)]
    return pairs


def store_latest(database: Database, pairs: list[tuple[float | None, float | None]]) -> None:
    """One location per pair, its latest observation with these speeds."""
    rows = [{"name": f"place {i:05}", "now": now, "free": free, "at": HOUR} for i, (now, free) in enumerate(pairs)]
    with transaction(database.owner) as connection:
        connection.execute(sa.text("delete from locations"))
        connection.execute(sa.text("insert into locations (name, origin) values (:name, 'import')"), rows)
        connection.execute(
            sa.text(
                "insert into latest_observations (location, observed_at, current_speed, free_flow_speed) "
                "values (:name, :at, :now, :free)"
            ),
            rows,
        )


def test_congestion_ratio_and_level(database: Database) -> None:
    pairs = speeds()
    store_latest(database, pairs)
    found = database.rows(
        "select congestion_ratio as ratio, "
        "(select level from traffic_levels where congestion_ratio < below order by below limit 1) as level "
        "from current_conditions order by location"
    )
    for (current, free_flow), row in zip(pairs, found, strict=True):
        ratio = congestion_ratio(current, free_flow)
        # The ninth decimal may differ where the rest is a half, to the last bit: neither a level nor a reader sees it.
        assert row.ratio == (ratio if ratio is None else pytest.approx(ratio, abs=1.01e-9)), (current, free_flow)
        assert row.level == traffic_level(current, free_flow), (current, free_flow)


@pytest.mark.parametrize("tenths", [1, 3, 5, 7])
def test_a_tenth_is_a_tenth_in_sql_too(database: Database, tenths: int) -> None:
    pairs: list[tuple[float | None, float | None]] = [
        ((10 - tenths) * free / 10, float(free)) for free in range(1, 301)
    ]
    store_latest(database, pairs)
    found = database.rows("select distinct congestion_ratio from current_conditions")
    assert [tuple(row) for row in found] == [(tenths / 10,)]
    assert {congestion_ratio(*pair) for pair in pairs} == {tenths / 10}
