"""Asset checks on a real database: quiet on what is right, and each one loud on what it is for."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import pytest
import sqlalchemy as sa

from lambda_pipeline.batch.catch_up import CLOSED_FOR
from lambda_pipeline.batch.checks import Finding, build_checks, look
from lambda_pipeline.batch.days import DAY_TABLES, compute_days
from lambda_pipeline.batch.partitions import Days
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
    HOUR,
    NEXT_HOUR,
    ZONE,
    MemoryLog,
    seen,
)
from lambda_pipeline_tests.servers import HISTORY_START, Database

pytestmark = pytest.mark.integration

CLOCK = CityClock(ZONE)
ALL = [
    "raw_keys", "raw_values", "hourly_counts", "hourly_values", "layer_parity", "union", "completeness", "gaps",
    "daily_counts", "analysis_counts", "peak_days",
]  # fmt: skip


def find(database: Database, name: str, over: datetime = NEXT_HOUR, days: Days = (DAY, DAY_AFTER)) -> Finding:
    """What a check finds when the hour `over` has closed."""
    return look(database.writer, name, CLOCK, days, over + timedelta(hours=1) + CLOSED_FOR)


def publish_all(database: Database, first: date = DAY) -> None:
    hours = hours_to_publish(database.writer, first, DAY_AFTER, everything=True)
    publish_hours(database.writer, hours, ZONE, "test")
    for table in DAY_TABLES:
        compute_days(database.writer, table, first, DAY_AFTER, "test")


def polls(location: str, *hours: datetime) -> list[ObservationMessage]:
    """All that is expected of a location in these hours."""
    return [seen(minute, location, aqi=1, hour=hour) for hour in hours for minute in range(0, 60, 6)]


def tamper(database: Database, *statements: str) -> None:
    with transaction(database.owner) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


@pytest.fixture
def published(database: Database) -> MemoryLog:
    """Two published hours of two locations, complete; and an observation that only the speed layer has."""
    log = MemoryLog(database)
    places = [(hour, place) for hour in (HOUR, NEXT_HOUR) for place in ("Krukut", "Cinere")]
    for hour, place in places:
        log.append(*(seen(at, place, aqi=at, level=3, speeds=(30, 40), hour=hour) for at in range(0, 60, 6)))
    log.consume()
    log.store()
    publish_all(database)
    log.append(seen(1, aqi=5))
    log.consume()
    return log


def test_there_is_a_question_for_every_check_and_no_other() -> None:
    names = {key.name for check in build_checks(ZONE, HISTORY_START) for key in check.check_keys}
    assert names == {*ALL, "kafka_retention"}


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_found_where_all_is_right(database: Database, published: MemoryLog, name: str) -> None:
    found = find(database, name)
    assert found.passed, found
    assert found.text


@pytest.mark.parametrize("name", ALL)
def test_an_empty_database_is_all_right(database: Database, name: str) -> None:
    assert find(database, name).passed


DAMAGE: dict[str, tuple[str, Sequence[str], str]] = {
    "a month without its key": (
        "raw_keys", ["alter table raw_data drop constraint raw_data_pkey"], "parts of raw_data without their key",
    ),
    "a value out of its range": (
        "raw_values",
        ["alter table raw_data drop constraint raw_data_aqi_value_check",
         "update raw_data set aqi_value = 5000 where location = 'Cinere' and timestamp = '2025-06-02T03:06Z'"],
        "1 rows break a rule, first observations[0]@11 (Cinere, 2025-06-02 03:06:00+00)",
    ),
    "a row in another hour": (
        "raw_values", ["update raw_data set hour_start = hour_start + interval '1 hour' where log_offset = 0"],
        "1 rows break a rule",
    ),
    "a row on another day": (
        "raw_values", ["update raw_data set city_date = city_date + 1 where log_offset = 0"], "1 rows break a rule",
    ),
    "an hour that starts at no city hour": (
        "raw_values",
        ["update raw_data set hour_start = hour_start + interval '1 minute' where log_offset > 0",
         "update raw_hours set hour_start = hour_start + interval '1 minute'"],
        "rows break a rule",
    ),
    "a location that nobody knows": (
        "raw_values", ["delete from locations where name = 'Cinere'"], "20 rows break a rule",
    ),
    "a raw row lost": (
        "hourly_counts", ["delete from raw_data where log_offset = 3"],
        "1 of 2 hours differ, first 2025-06-02 03:00:00+00: 19 raw rows, 20 published",
    ),
    "an hour's result lost": (
        "hourly_counts", ["delete from batch_aggregations where hour_start = '2025-06-02T04:00Z'"], "20 raw rows, 0",
    ),
    "a sum that its extremes do not allow": (
        "hourly_values", ["update batch_aggregations set aqi_sum = 100000 where location = 'Cinere' and hour = 10"],
        "1 rows break a rule, first Cinere at 2025-06-02 03:00:00+00",
    ),
    "other values in the speed layer": (
        "layer_parity", ["update published_hours set parity_differing = 2 where hour_start = '2025-06-02T04:00Z'"],
        "other values at 2 of 40 positions",
    ),
    "other sums in the speed layer": (
        "layer_parity", ["update published_hours set parity_drift = 1"], "first in the hour 2025-06-02 03:00:00+00:00",
    ),
    "an observation in both layers": (
        "union",
        ["insert into realtime_data overriding system value select b.id, b.timestamp, b.location, b.hour_start, "
         "b.city_date, b.latitude, b.longitude, b.aqi_value, b.aqi_category, b.traffic_level, b.current_speed, "
         "b.free_flow_speed, b.congestion_ratio, b.road_closure, b.is_peak_hour, b.pollutants, b.source, "
         "b.log_partition, b.log_offset from raw_data b where log_offset = 7"],
        "Of 2 observations in the speed layer 1 are covered by a result and 1 are in both layers; at 1 locations",
    ),
    "speed's sums that drifted": ("union", ["update realtime_hourly set aqi_sum = 1"], "at 1 locations and hours"),
    "a location that fell silent": (
        "completeness",
        ["update batch_aggregations set data_points_count = 1 where location = 'Cinere' and hour is not null"],
        "55.0% of 40 expected observations. Least: Cinere 10 %.",
    ),
    "records that left the log unread": (
        "gaps",
        ["insert into log_gaps (log_partition, from_offset, to_offset, layer, reason, noted_at) "
         "select id, 5, 9, 'batch', 'test', '2025-06-02T05:00Z' from log_partitions where topic = 'observations'"],
        "4 records lost by the log",
    ),
    "a day that does not add up": (
        "daily_counts",
        ["update batch_aggregations set aqi_sum = aqi_sum + 1 where hour is null and location = 'Cinere'"],
        "1 rows differ from their hours, first Cinere on 2025-06-02",
    ),
    "an analysed hour that is gone": (
        "analysis_counts", ["delete from peak_hours_analysis where location = 'Krukut' and hour = 10"],
        "1 rows differ from their hours, first Krukut at 2025-06-02 03:00:00+00",
    ),
    "a worst hour that is not the worst": (
        "peak_days", ["update peak_hours set peak_aqi_value = 1"], "1 rows differ from their hours, first 2025-06-02",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_named(database: Database, published: MemoryLog, damage: str) -> None:
    name, statements, text = DAMAGE[damage]
    tamper(database, *statements)
    found = find(database, name)
    assert not found.passed
    assert text in found.text


# ---------------------------------------------------------------- a run that comes again and again


RAW_CHECKS = ["raw_values", "hourly_counts"]
RANGE = "alter table raw_data drop constraint raw_data_aqi_value_check"


def find_changed(database: Database, name: str, run_id: str, days: Days = (DAY, DAY_AFTER)) -> Finding:
    """What a check finds in a run that looks only at what it could have changed."""
    return look(database.writer, name, CLOCK, days, NEXT_HOUR + timedelta(hours=1) + CLOSED_FOR, changed_by=run_id)


def spoil(database: Database, hour: datetime) -> None:
    """A value that no run could have stored."""
    place = f"location = 'Krukut' and timestamp = '{hour.isoformat()}'"
    tamper(database, RANGE, f"update raw_data set aqi_value = 5000 where {place}")


@pytest.mark.parametrize("name", RAW_CHECKS)
def test_it_looks_at_the_hours_that_it_published(database: Database, published: MemoryLog, name: str) -> None:
    found = find_changed(database, name, "test")
    assert (found.passed, found.hours) == (True, 2)
    assert found.figures == find(database, name).figures
    tamper(database, RANGE, "delete from raw_data where log_offset = 3", "update raw_data set aqi_value = 5000")
    found = find_changed(database, name, "test")
    assert not found.passed


@pytest.mark.parametrize("name", RAW_CHECKS)
def test_with_nothing_changed_it_has_nothing_to_look_at(database: Database, published: MemoryLog, name: str) -> None:
    found = find_changed(database, name, "another")
    assert (found.passed, found.hours) == (True, 0)


def test_rows_that_it_could_publish_are_looked_at_before_it_does_in_hours_that_are_no_neighbours_too(
    database: Database, published: MemoryLog
) -> None:
    late = NEXT_HOUR + timedelta(hours=5)
    published.append(seen(0, "Krukut", hour=late), seen(3, "Krukut", hour=HOUR))
    published.store()
    found = find_changed(database, "raw_values", "another")
    assert (found.passed, found.hours) == (True, 2)
    spoil(database, late)
    found = find_changed(database, "raw_values", "another")
    assert found.text.startswith("1 rows break a rule")
    assert found.figures == find(database, "raw_values").figures


def test_what_was_published_before_is_left_to_the_run_that_looks_at_the_whole_day(
    database: Database, published: MemoryLog
) -> None:
    spoil(database, NEXT_HOUR)
    assert find_changed(database, "raw_values", "another").passed
    assert not find(database, "raw_values").passed


def test_a_new_row_that_lies_in_an_hour_of_another_time_makes_it_look_at_the_whole_day(
    database: Database, published: MemoryLog
) -> None:
    published.append(seen(3, "Krukut", hour=NEXT_HOUR))
    published.store()
    hour, other = f"'{NEXT_HOUR.isoformat()}'", f"'{(NEXT_HOUR + timedelta(hours=5)).isoformat()}'"
    tamper(
        database,
        f"update raw_data set hour_start = {other} where timestamp = {hour}::timestamptz + interval '3 minutes'",
        f"update raw_hours set rows = rows - 1, max_offset = 0 where hour_start = {hour}",
        f"insert into raw_hours select {other}, log_partition, city_date, 1, 99 from raw_hours "
        f"where hour_start = {hour}",
    )
    found = find_changed(database, "raw_values", "another")
    assert found.hours is None
    assert found.text.startswith("1 rows break a rule")


def test_other_checks_look_at_all_days_in_any_run(database: Database, published: MemoryLog) -> None:
    for name in set(ALL) - set(RAW_CHECKS):
        assert find_changed(database, name, "another") == find(database, name)


# ---------------------------------------------------------------- gaps


def hours_after(number: int) -> datetime:
    return NEXT_HOUR + timedelta(hours=number)


def test_an_hour_in_which_nothing_was_observed_is_a_gap(database: Database, published: MemoryLog) -> None:
    published.append(seen(0, hour=hours_after(3)))
    published.store()
    publish_all(database)
    found = find(database, "gaps", over=hours_after(3))
    assert found.text.startswith("2 hours without any observation, first 2025-06-02 05:00:00+00")


def test_hours_are_gaps_until_the_day_ends_once_they_have_closed(database: Database, published: MemoryLog) -> None:
    assert find(database, "gaps", over=hours_after(1)).text.startswith(
        "1 hours without any observation, first 2025-06-02 05:00:00+00"
    )
    assert find(database, "gaps", over=hours_after(50)).figures["hours"] == 12


def test_hours_are_gaps_from_the_start_of_a_day_on_which_nothing_was_observed_at_first_or_at_all(
    database: Database, published: MemoryLog
) -> None:
    tomorrow = (DAY_AFTER, DAY_AFTER + timedelta(days=1))
    assert find(database, "gaps", over=hours_after(50), days=tomorrow).text.startswith(
        "24 hours without any observation, first 2025-06-02 17:00:00+00"
    )
    published.append(seen(0, hour=hours_after(-5 * 24)))
    published.store()
    publish_all(database, DAY - timedelta(days=7))
    assert find(database, "gaps").figures["hours"] == 10
    assert find(database, "gaps", days=(DAY - timedelta(days=7), DAY)).figures["hours"] == 5 * 24 - 12


def test_before_anything_was_observed_nothing_is_a_gap(database: Database, published: MemoryLog) -> None:
    assert find(database, "gaps", days=(DAY - timedelta(days=7), DAY)).passed


# ---------------------------------------------------------------- completeness


def test_a_location_is_expected_from_its_first_hour_on_until_it_is_switched_off(
    database: Database, published: MemoryLog
) -> None:
    published.append(*polls("Kemayoran", NEXT_HOUR), *polls("Cinere", hours_after(1)))
    published.store()
    publish_all(database)
    assert find(database, "completeness", over=hours_after(1)).figures == {"observed": 61, "expected": 80}
    tamper(database, "update locations set is_active = false where name in ('Krukut', 'Kemayoran')")
    assert find(database, "completeness", over=hours_after(1)).figures == {"observed": 61, "expected": 60}


def test_a_location_that_is_silent_all_day_is_expected_since_it_has_an_hour(
    database: Database, published: MemoryLog
) -> None:
    published.append(*polls("Kemayoran", hours_after(-48)))
    published.store()
    publish_all(database, DAY - timedelta(days=7))
    found = find(database, "completeness")
    assert found.text == "25.6% of 160 expected observations. Least: Kemayoran 0 %."


def test_an_outage_of_the_whole_city_at_the_start_or_the_end_of_a_day_is_missed_polls(
    database: Database, published: MemoryLog
) -> None:
    published.append(*polls("Krukut", hours_after(-24)), *polls("Cinere", hours_after(-24)))
    published.store()
    publish_all(database, DAY - timedelta(days=7))
    assert find(database, "completeness").figures == {"observed": 41, "expected": 2 * 12 * 10}
    assert find(database, "completeness", over=hours_after(12)).figures == {"observed": 41, "expected": 2 * 24 * 10}


def test_a_location_of_the_catalogue_without_any_hour_is_expected_since_it_was_brought_in(
    database: Database, published: MemoryLog
) -> None:
    tamper(database, "update locations set created_at = '2025-06-02T03:30Z' where name = 'Gunung'")
    assert find(database, "completeness").text == "80.0% of 50 expected observations. Least: Gunung 0 %."
    tamper(database, "update locations set created_at = '2025-05-01T03:30Z' where name = 'Gunung'")
    assert find(database, "completeness").figures["expected"] == 60, "nobody polled before the first hour of all"


def test_imported_locations_are_expected_only_between_their_own_hours(database: Database, published: MemoryLog) -> None:
    tamper(database, "update locations set origin = 'import' where name = 'Cinere'")
    assert find(database, "completeness", over=hours_after(2)).figures == {"observed": 40, "expected": 60}
