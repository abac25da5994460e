"""The tables of a day, and when they are stale."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from lambda_pipeline.batch.days import DayTable, compute_days
from lambda_pipeline.batch.publish import hours_to_publish
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
    HOUR,
    NEXT_HOUR,
    MemoryLog,
    contents,
    publish,
    seen,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration
DAY_TABLES: tuple[DayTable, ...] = ("daily_aggregations", "peak_hours_analysis", "peak_hours")
LAST_HOUR = datetime(2025, 6, 2, 16, tzinfo=UTC)  # 23:00 in Jakarta
TOMORROWS_HOUR = datetime(2025, 6, 2, 17, tzinfo=UTC)  # midnight in Jakarta


@pytest.fixture
def log(database: Database) -> MemoryLog:
    return MemoryLog(database, partitions=2)


def stale(database: Database, *, everything: bool = False) -> list[datetime]:
    return [hour.hour_start for hour in hours_to_publish(database.writer, DAY, DAY_AFTER, everything=everything)]


def compute_all_days(database: Database) -> None:
    for table in DAY_TABLES:
        compute_days(database.writer, table, DAY, DAY_AFTER, "test")


def daily(database: Database) -> list[tuple[object, ...]]:
    return [tuple(row) for row in database.rows("select * from served_daily order by date, location")]


def city_daily_is_fresh(database: Database) -> bool:
    """Whether served_daily answers from the daily rows."""
    query = (
        "select publication >= (select max(publication) from published_hours h where h.city_date = c.city_date) "
        "from computed_days c where table_name = 'daily_aggregations' and city_date = :day"
    )
    return bool(database.scalar(query, day=DAY))


def test_served_daily_is_the_same_before_and_after_the_day_is_computed(database: Database, log: MemoryLog) -> None:
    morning = datetime(2025, 6, 1, 23, tzinfo=UTC)  # 06:00 in Jakarta, a peak hour
    for place in ("Krukut", "Cinere", "Gunung"):
        for step, hour in enumerate((morning, HOUR, LAST_HOUR)):
            log.append(
                seen(step, place, aqi=len(place) * (step + 1), hour=hour),
                seen(30, place, speeds=(step * 10, 37), hour=hour),
            )
    log.append(seen(1, "Kemayoran"), seen(0, hour=TOMORROWS_HOUR, aqi=500))
    log.consume()
    from_speed = daily(database)
    log.store()
    publish(database, morning, HOUR, LAST_HOUR, TOMORROWS_HOUR)
    from_hours = daily(database)
    assert not city_daily_is_fresh(database)
    compute_all_days(database)
    assert city_daily_is_fresh(database)
    from_days = daily(database)
    assert from_days == from_hours
    expected = "expected_count"  # only the batch layer's rows say how many were expected
    columns = [name for name in database.rows("select * from served_daily limit 1")[0]._fields if name != expected]
    where = [database.rows("select * from served_daily limit 1")[0]._fields.index(name) for name in columns]
    assert [[row[i] for i in where] for row in from_speed] == [[row[i] for i in where] for row in from_days]


def test_a_late_publish_makes_the_day_stale_until_it_is_computed_again(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10))
    log.store()
    publish(database, HOUR)
    compute_all_days(database)
    log.append(seen(6, aqi=30))
    log.consume()
    served_aqi = "select aqi_count, avg_aqi from served_daily"
    assert tuple(database.rows(served_aqi)[0]) == (2, 20.0)
    log.store()
    publish(database, HOUR)
    assert not city_daily_is_fresh(database)
    assert tuple(database.rows(served_aqi)[0]) == (2, 20.0)
    compute_all_days(database)
    assert city_daily_is_fresh(database)
    assert tuple(database.rows(served_aqi)[0]) == (2, 20.0)


def test_a_late_event_in_the_speed_layer_makes_the_day_come_from_its_hours(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10))
    log.store()
    publish(database, HOUR)
    compute_all_days(database)
    log.append(seen(6, aqi=30), seen(12, aqi=20))
    log.consume()
    assert city_daily_is_fresh(database)
    assert tuple(database.rows("select aqi_count, avg_aqi from served_daily")[0]) == (3, 20.0)


def test_a_publish_while_the_day_is_computed_leaves_it_stale(
    database: Database, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lambda_pipeline.batch import days

    log.append(seen(0, aqi=10))
    log.store()
    publish(database, HOUR)
    real = days.sql

    def interrupted(name: str) -> sa.TextClause:
        if name == "batch/daily_aggregations":  # after the publication was noted
            log.append(seen(6, aqi=30))
            log.store()
            publish(database, HOUR)
        return real(name)

    monkeypatch.setattr(days, "sql", interrupted)
    compute_days(database.writer, "daily_aggregations", DAY, DAY_AFTER, "test")
    assert not city_daily_is_fresh(database)
    assert tuple(database.rows("select aqi_count, avg_aqi from served_daily")[0]) == (2, 20.0)


def test_computing_a_day_leaves_the_others_alone(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, hour=HOUR, aqi=10), seen(0, hour=TOMORROWS_HOUR, aqi=20))
    log.store()
    publish(database, HOUR, TOMORROWS_HOUR)
    compute_days(database.writer, "daily_aggregations", DAY_AFTER, DAY_AFTER + timedelta(days=1), "test")
    assert compute_days(database.writer, "daily_aggregations", DAY, DAY_AFTER, "test") == 1
    found = database.rows("select date, avg_aqi from batch_aggregations where hour is null order by date")
    assert [tuple(row) for row in found] == [(DAY, 10.0), (DAY_AFTER, 20.0)]


def test_a_day_without_hours_has_no_rows(database: Database) -> None:
    before = contents(database)
    assert [compute_days(database.writer, table, DAY, DAY_AFTER, "test") for table in DAY_TABLES] == [0, 0, 0]
    assert contents(database) == before


def peak(database: Database) -> tuple[object, ...]:
    compute_days(database.writer, "peak_hours", DAY, DAY_AFTER, "test")
    columns = (
        "peak_aqi_hour, peak_aqi_value, peak_aqi_location, peak_traffic_hour, peak_traffic_value, peak_traffic_location"
    )
    return tuple(database.rows(f"select {columns} from peak_hours where analysis_date = :day", day=DAY)[0])


@pytest.mark.parametrize(
    ("observations", "worst"),
    [
        (
            [seen(0, "Krukut", aqi=10, level=5), seen(0, "Cinere", aqi=90, level=1)],
            (10, 90.0, "Cinere", 10, 5.0, "Krukut"),
        ),
        (  # a tie: the earlier hour, even where its name comes later
            [seen(0, "Krukut", aqi=90), seen(0, "Cinere", aqi=90, hour=NEXT_HOUR)],
            (10, 90.0, "Krukut", None, None, None),
        ),
        (  # a tie within the hour: the name
            [seen(0, "Krukut", level=4), seen(0, "Cinere", level=4)],
            (None, None, None, 10, 4.0, "Cinere"),
        ),
        (  # the worst average, not the worst value
            [seen(0, "Krukut", aqi=100), seen(6, "Krukut", aqi=0), seen(0, "Cinere", aqi=60)],
            (10, 60.0, "Cinere", None, None, None),
        ),
        (  # an AQI of 0 is a value, a missing one is none
            [seen(0, "Krukut"), seen(0, "Cinere", aqi=0)],
            (10, 0.0, "Cinere", None, None, None),
        ),
        ([seen(0)], (None,) * 6),
    ],
    ids=["each measure its own", "earlier hour", "name", "average", "zero", "nothing measured"],
)
def test_the_worst_hour_and_place_of_a_day(
    database: Database, log: MemoryLog, observations: list, worst: tuple[object, ...]
) -> None:
    log.append(*observations)
    log.store()
    publish(database, *stale(database))
    assert peak(database) == worst


def test_the_worst_hour_follows_a_publish(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=50))
    log.store()
    publish(database, HOUR)
    assert peak(database)[:3] == (10, 50.0, "Krukut")
    log.append(seen(0, "Cinere", aqi=80, hour=NEXT_HOUR))
    log.store()
    publish(database, NEXT_HOUR)
    assert peak(database)[:3] == (11, 80.0, "Cinere")
    assert database.scalar("select count(*) from peak_hours") == 1


def test_peak_hours_analysis_has_a_row_per_location_and_hour(database: Database, log: MemoryLog) -> None:
    morning = datetime(2025, 6, 1, 23, tzinfo=UTC)
    log.append(seen(0, aqi=10, level=2, hour=morning), seen(6, aqi=20, hour=morning), seen(0, level=4))
    log.store()
    publish(database, morning, HOUR)
    assert compute_days(database.writer, "peak_hours_analysis", DAY, DAY_AFTER, "test") == 2
    columns = "date, hour, hour_start, location, avg_traffic_level, avg_aqi_value, is_peak_hour, total_records"
    found = database.rows(f"select {columns} from peak_hours_analysis order by hour_start")
    assert [tuple(row) for row in found] == [
        (DAY, 6, morning, "Krukut", 2.0, 15.0, True, 2),
        (DAY, 10, HOUR, "Krukut", 4.0, None, False, 1),
    ]
