"""The late event of docs/architecture.md, step by step."""

import pytest

from lambda_pipeline_tests.integration.observations import HOUR, NEXT_HOUR, MemoryLog, publish, seen
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration
LATE = seen(30, aqi=90)


def layers(database: Database) -> tuple[object, ...]:
    """The hour's coverage, published count and sum, live count and sum, served count and average."""
    one_hour = "where hour_start = :hour and location = 'Krukut'"
    (row,) = database.rows(
        "select (select next_offset from batch_coverage where hour_start = :hour), "
        f"(select (data_points_count, aqi_sum)::text from batch_aggregations {one_hour}), "
        f"(select (data_points_count, aqi_sum)::text from realtime_hourly {one_hour}), "
        f"(select (data_points_count, avg_aqi)::text from served_hourly {one_hour})",
        hour=HOUR,
    )
    return tuple(row)


def test_a_late_event_is_served_at_once_and_taken_over_later(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=40), seen(20, aqi=50), seen(40, aqi=60), seen(0, hour=NEXT_HOUR, aqi=10))
    log.consume()
    assert layers(database) == (None, None, "(3,150)", "(3,50)")

    log.store()
    publish(database, HOUR)
    assert layers(database) == (4, "(3,150)", None, "(3,50)")

    log.append(LATE)
    log.consume()
    assert layers(database) == (4, "(3,150)", "(1,90)", "(4,60)")

    log.store()
    publish(database, HOUR)
    assert layers(database) == (5, "(4,240)", None, "(4,60)")


def test_sent_twice_it_counts_once(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=40), LATE)
    log.consume()
    log.store()
    publish(database, HOUR)
    log.append(seen(30, aqi=1))
    assert log.consume() == 0
    assert log.store() == 0
    assert layers(database) == (2, "(2,130)", None, "(2,65)")
