"""Whole databases of the first system, of both its branches: before the upgrade and after."""

from datetime import date

import pandas as pd
import pytest

from lambda_pipeline.batch.days import compute_days
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline_tests.integration.old_databases import (
    LATER_COLUMNS,
    MASTER,
    TABLES,
    V2,
    V2_EXTRAS,
    create_old,
    fates,
    insert,
    lost,
    run,
    taken,
)
from lambda_pipeline_tests.integration.serving.data import Log, message
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

FAR_DATES = date(2000, 1, 1), date(2100, 1, 1)
RAW_MEASURES = ("aqi_value", "traffic_level")
ROAD_MEASURES = ("traffic_level", "current_speed", "free_flow_speed")

# Two days of three places: halves and nothing at all among them, and a key in ten a second time with other values.
FILL_RAW = """
insert into {table} (timestamp, location, latitude, longitude, aqi_value, traffic_level)
select '2025-03-03T20:10:00.5Z'::timestamptz + interval '10 minutes' * slot, place, -6.2, 106.8,
    case when (slot + copy) % 7 > 0 then (slot * 13 + length(place) + copy) % 400 end,
    case when (slot + copy) % 5 > 0 then 1 + (slot + copy) % 5 end
from generate_series(0, 287) slot, unnest(array['Cinere', 'Krukut', 'O''Hara "Pasar; Minggu"']) place,
    generate_series(0, 1) copy
where copy = 0 or slot % 10 = 0
order by copy, slot, place
"""
FILL_TRAFFIC = """
insert into traffic_data (timestamp, location, latitude, longitude, traffic_level, current_speed, free_flow_speed)
select '2025-03-03T20:10:00'::timestamp + interval '10 minutes' * slot, place, -6.2, 106.8,
    case when slot % 5 > 0 then 1 + slot % 5 end, case when slot % 6 > 0 then 7.25 * (slot % 11) end, 60.125
from generate_series(0, 287) slot, unnest(array['Cinere', 'Krukut']) place
"""
FILL_AQI = """
insert into aqi_data (timestamp, location, latitude, longitude, aqi_value, aqi_category)
select '2025-03-03T20:10:00'::timestamp + interval '10 minutes' * slot
        + case when slot % 4 = 0 then interval '1.25 seconds' else interval '0' end, place, -6.2, 106.8,
    case when slot % 7 > 0 then slot % 320 end, 'Moderate'
from generate_series(0, 287) slot, unnest(array['Cinere', 'Krukut']) place
"""


def publish(database: Database) -> int:
    """Make stale hours batch results, and the days' tables; returns how many hours."""
    hours = hours_to_publish(database.writer, *FAR_DATES)
    publish_hours(database.writer, hours, "Asia/Jakarta", "test")
    for table in ("daily_aggregations", "peak_hours_analysis", "peak_hours"):
        compute_days(database.writer, table, *FAR_DATES, "test")  # type: ignore[arg-type]
    return len(hours)


def hourly(frame: pd.DataFrame) -> dict[tuple[object, ...], tuple[object, ...]]:
    """Counts and averages by hour and place, by pandas alone."""
    frame = frame.drop_duplicates(["location", "timestamp"])
    hour = pd.to_datetime(frame["timestamp"], utc=True).dt.floor("h")
    groups = frame.astype({"aqi_value": "float64", "traffic_level": "float64"}).groupby([hour, "location"])
    found = groups.agg(rows=("timestamp", "size"), aqi=("aqi_value", "mean"), level=("traffic_level", "mean"))
    return {key: tuple(row) for key, row in zip(found.index, found.round(9).fillna(-1).to_numpy(), strict=True)}


def served(database: Database) -> dict[tuple[object, ...], tuple[object, ...]]:
    """The same, as it is served."""
    frame = ServingLayer(database.reader).get_hourly(*FAR_DATES)
    frame["hour_start"] = pd.to_datetime(frame["hour_start"], utc=True)
    found = frame.set_index(["hour_start", "location"])[["data_points_count", "avg_aqi", "avg_traffic"]]
    values = found.astype("float64").round(9).fillna(-1).to_numpy()
    return {key: tuple(row) for key, row in zip(found.index, values, strict=True)}


@pytest.mark.parametrize("later", [False, True], ids=["as it began", "with later columns"])
def test_master_is_taken_over_to_the_last_row_and_served_as_its_rows_say(
    old: Database, jakarta: City, later: bool
) -> None:
    create_old(old, MASTER, *(LATER_COLUMNS if later else ()))
    run(old, FILL_RAW.format(table="raw_data"), FILL_RAW.format(table="realtime_data"))
    rows = pd.DataFrame(old.rows("select timestamp, location, aqi_value, traffic_level from raw_data order by id"))
    report = taken(old, jakarta)
    assert fates(report) == {"raw_data": (951, 864, 0, 87, 0, 0), "realtime_data": (951, 0, 864, 87, 0, 0)}
    assert lost(old, "raw_data", *RAW_MEASURES) == []
    assert lost(old, "realtime_data", *RAW_MEASURES) == []
    assert old.scalar("select count(distinct source) from raw_data") == 1
    assert publish(old) == 49
    assert publish(old) == 0
    assert served(old) == hourly(rows)


def test_peak_hours_and_categories_are_todays_whatever_the_old_columns_say(old: Database, jakarta: City) -> None:
    create_old(old, MASTER, *LATER_COLUMNS)
    for hour, aqi in ((22, 50), (23, 51), (2, 0), (3, 301), (8, None), (9, 200), (12, 201), (13, 101)):
        row = {"timestamp": f"2025-03-03T{hour:02d}:30Z", "location": "Cinere", "aqi_value": aqi, "traffic_level": 1}
        insert(old, "raw_data", {**row, "aqi_category": "Fine", "is_peak_hour": hour in (8, 9)})  # peaks in UTC
    taken(old, jakarta)
    found = old.rows(
        "select extract(hour from timestamp)::int, is_peak_hour, aqi_category, "
        "extract(hour from hour_start at time zone 'Asia/Jakarta')::int, city_date from raw_data"
    )
    third, fourth = date(2025, 3, 3), date(2025, 3, 4)
    assert {tuple(row) for row in found} == {
        (22, False, "Good", 5, fourth), (23, True, "Moderate", 6, fourth), (2, True, "Good", 9, third),
        (3, False, "Hazardous", 10, third), (8, False, "Unknown", 15, third), (9, True, "Unhealthy", 16, third),
        (12, True, "Very Unhealthy", 19, third), (13, False, "Unhealthy for Sensitive Groups", 20, third),
    }  # fmt: skip


@pytest.mark.parametrize("time", ["timestamptz", "timestamp"])
def test_v2_is_joined_by_location_and_timestamp_and_its_tables_live_on(old: Database, jakarta: City, time: str) -> None:
    create_old(old, V2, *V2_EXTRAS, FILL_TRAFFIC, FILL_AQI, time=time)
    report = taken(old, jakarta)
    assert fates(report) == {"traffic_data": (576, 576, 0, 0, 0, 0), "aqi_data": (576, 144, 432, 0, 0, 0)}
    sources = dict(tuple(row) for row in old.rows("select source, count(*) from raw_data group by 1"))
    assert sources == {
        "legacy:traffic_data+aqi_data": 432, "legacy:traffic_data": 144, "legacy:aqi_data": 144,
    }  # fmt: skip
    assert lost(old, "traffic_data", *ROAD_MEASURES) == []
    assert lost(old, "aqi_data", "aqi_value") == []
    assert publish(old) == 49
    for table, measures, present in (
        ("traffic_data", "current_speed, free_flow_speed", "current_speed is not null"),
        ("aqi_data", "aqi_value", "aqi_value is not null"),
    ):
        columns = f"timestamp::timestamptz, location, {measures}"
        before = old.rows(f"select {columns} from legacy.{table} where {present} order by 1, 2")
        after = old.rows(f"select {columns} from public.{table} where {present} order by 1, 2")
        assert [[row[0], row[1], *map(float, row[2:])] for row in before] == [
            [row[0], row[1], *map(float, row[2:])] for row in after
        ]


def test_the_views_of_v2_have_its_columns_of_the_same_kinds_and_one_id_a_row(old: Database, jakarta: City) -> None:
    create_old(old, V2, *V2_EXTRAS, FILL_TRAFFIC, FILL_AQI)
    taken(old, jakarta)
    publish(old)
    query = (  # numbers are "N", texts "S", times "D", booleans "B", however wide
        "select attname, typcategory::text from pg_attribute a join pg_type t on t.oid = a.atttypid "
        "where attrelid = cast(:name as regclass) and attnum > 0 order by attnum"
    )

    def columns(name: str) -> list[tuple[str, str]]:
        return [(row.attname, row.typcategory) for row in old.rows(query, name=name)]

    for table in ("traffic_data", "aqi_data"):
        assert columns(f"public.{table}") == columns(f"legacy.{table}")
        assert old.scalar(f"select count(*) - count(distinct id) from {table}") == 0
    assert set(columns("public.daily_summary")) == {*columns("legacy.daily_summary"), ("created_at", "D")}


def test_what_the_log_still_holds_of_the_old_rows_counts_once(old: Database, jakarta: City) -> None:
    create_old(old, MASTER)
    run(old, FILL_RAW.format(table="raw_data"))
    rows = pd.DataFrame(old.rows("select timestamp, location, aqi_value, traffic_level from raw_data order by id"))
    taken(old, jakarta)
    log = Log(old)
    newest = rows.drop_duplicates(["location", "timestamp"]).sort_values("timestamp").tail(300)
    log.append(*(message(row.location, row.timestamp.to_pydatetime(), 7) for row in newest.itertuples()))
    assert log.consume(200) == 200  # nothing is published yet, so the speed layer serves them
    publish(old)
    assert old.scalar("select count(*) from realtime_data") == 0
    assert log.consume() == 0
    assert log.store() == 0
    publish(old)
    assert served(old) == hourly(rows)


@pytest.mark.parametrize("table", [*TABLES])
def test_any_table_may_be_all_that_there_is(old: Database, jakarta: City, table: str) -> None:
    create_old(old, [table])
    if table in ("raw_data", "realtime_data", "traffic_data", "aqi_data"):
        insert(old, table, {"timestamp": "2025-03-03T20:00Z", "location": "Cinere"})
        assert fates(taken(old, jakarta)) == {table: (1, 1, 0, 0, 0, 0)}
    else:
        assert fates(taken(old, jakarta)) == {}
    assert old.scalar("select count(*) from pg_tables where schemaname = 'legacy'") == 1


def test_both_branches_in_one_database_speak_for_each_other(old: Database, jakarta: City) -> None:
    create_old(old, [*MASTER, *V2])
    key = {"timestamp": "2025-03-03T20:00Z", "location": "Cinere"}
    insert(old, "raw_data", {**key, "aqi_value": 80, "traffic_level": 2})
    insert(old, "realtime_data", {**key, "aqi_value": 80})
    insert(old, "traffic_data", {**key, "traffic_level": 2, "current_speed": 40, "free_flow_speed": 50})
    insert(old, "aqi_data", {**key, "aqi_value": 81})
    report = taken(old, jakarta)
    assert fates(report) == {
        "raw_data": (1, 1, 0, 0, 0, 0), "realtime_data": (1, 0, 1, 0, 0, 0),
        "traffic_data": (1, 0, 1, 0, 0, 0), "aqi_data": (1, 0, 0, 1, 0, 0),
    }  # fmt: skip
    found = old.rows("select aqi_value, traffic_level, current_speed, congestion_ratio, source from raw_data")
    assert [tuple(row) for row in found] == [(80, 2, 40.0, 0.2, "legacy:raw_data+realtime_data+traffic_data")]


def test_old_aggregates_stand_beside_the_recomputed_ones(old: Database, jakarta: City) -> None:
    create_old(old, MASTER)
    run(old, FILL_RAW.format(table="raw_data"))
    by_hour = "extract(hour from timestamp at time zone 'UTC')"
    for _ in range(2):  # the daily rows repeat
        run(
            old,
            "insert into batch_aggregations (date, hour, location, avg_aqi, avg_traffic, data_points_count) "
            f"select (timestamp at time zone 'UTC')::date, {by_hour}, location, avg(aqi_value), avg(traffic_level), "
            "count(*) from raw_data where id <= 864 group by grouping sets ((1, 2, 3), (1, 3)) "
            f"on conflict (date, hour, location) do nothing",
        )
    hours, days = (
        old.scalar(f"select count(*) from batch_aggregations where hour is {what} null") for what in ("not", "")
    )
    assert (hours, days) == (147, 18)
    taken(old, jakarta)
    publish(old)
    with old.reader.connect() as reader:
        for view, rows in (("hourly_comparison", 147), ("daily_comparison", 18)):
            found = reader.exec_driver_sql(
                f"select count(*), count(*) filter (where old_data_points_count = data_points_count "
                "and coalesce(abs(old_avg_aqi - avg_aqi) < 1e-9, num_nonnulls(old_avg_aqi, avg_aqi) = 0) and "
                "coalesce(abs(old_avg_traffic - avg_traffic) < 1e-9, num_nonnulls(old_avg_traffic, avg_traffic) = 0)) "
                f"from legacy.{view}"
            ).one()
            assert tuple(found) == (rows, rows)
        peaks = reader.exec_driver_sql("select distinct old_hour, hour from legacy.hourly_comparison order by 1")
        assert [tuple(row) for row in peaks] == [(hour, (hour + 7) % 24) for hour in range(24)]


def test_a_million_rows(old: Database, jakarta: City) -> None:
    create_old(old, MASTER)
    run(
        old,
        "insert into raw_data (timestamp, location, latitude, longitude, aqi_value, traffic_level) "
        "select '2025-01-01T00:00:00Z'::timestamptz + interval '6 minutes' * (n / 10), 'place ' || n % 10, -6.2, 107, "
        "case when n % 3 > 0 then n % 301 end, case when n % 4 > 0 then 1 + n % 5 end "
        "from generate_series(0, 989999) n",
        "insert into raw_data (timestamp, location, aqi_value) "
        "select timestamp, location, 7 from raw_data where id <= 10000 order by id desc",
    )
    report = taken(old, jakarta)
    assert fates(report) == {"raw_data": (1_000_000, 990_000, 0, 10_000, 0, 0)}
    assert len(report.locations) == 10
    missing = (
        "select timestamp, location, aqi_value, traffic_level from legacy.raw_data where id <= 990000 except all "
        "select timestamp, location, aqi_value, traffic_level from raw_data"
    )
    assert old.rows(missing) == []
    assert old.scalar("select sum(rows) from raw_hours") == 990_000
    assert old.scalar("select count(*) from latest_observations") == 10
