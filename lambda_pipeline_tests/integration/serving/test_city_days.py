"""Days and hours are the city's, whatever its zone."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline_tests.integration.serving import data
from lambda_pipeline_tests.integration.serving.data import Log, message
from lambda_pipeline_tests.integration.serving.ways import WINDOWS, batch_only, both_layers
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/Los_Angeles", date(2025, 11, 2), 25),
        ("America/Los_Angeles", date(2025, 3, 9), 23),
        ("Asia/Kathmandu", date(2025, 3, 3), 24),
        ("Asia/Kolkata", date(2025, 3, 3), 24),
        ("Australia/Adelaide", date(2025, 4, 6), 25),
        ("America/St_Johns", date(2025, 3, 9), 23),
        ("America/Havana", date(2025, 11, 2), 25),  # midnight comes twice
    ],
)
def test_days_and_hours_are_the_citys_in_every_zone(database: Database, zone: str, day: date, hours: int) -> None:
    city = City("Somewhere", zone, locations=(Location("A"), Location("B")))
    database.claim(city)
    start = city.clock().day_start(day)
    messages = [
        message(place, start + timedelta(minutes=20 * slot), aqi=slot % 7 * 50, level=slot % 5 + 1)
        for slot in range(-3, hours * 3 + 3)
        for place in ("A", "B")
    ]
    both_layers(Log(database), messages)
    serving = ServingLayer(database.reader)
    observed = data.as_frame(messages, zone, WINDOWS)
    mine = observed[observed["date"] == pd.Timestamp(day)]
    found = serving.get_hourly(day, day + timedelta(days=1))
    assert found["hour_start"].nunique() == hours
    data.assert_equal(found, data.hourly(mine), without=["expected_count", "layer"])
    without = ["expected_count", "is_peak_hour"]
    data.assert_equal(serving.get_daily(day, day + timedelta(days=1)), data.daily(mine), without=without)


def test_the_hour_that_happens_twice_stays_two_rows(database: Database) -> None:
    city = City("Los Angeles", "America/Los_Angeles", locations=(Location("A"),))
    database.claim(city)
    log = Log(database)
    first, second = datetime(2025, 11, 2, 8, 30, tzinfo=UTC), datetime(2025, 11, 2, 9, 30, tzinfo=UTC)
    batch_only(log, [message("A", first, aqi=100)])
    log.append(message("A", second, aqi=200))
    log.consume()
    found = ServingLayer(database.reader).get_hourly(date(2025, 11, 2), date(2025, 11, 3))
    assert found["hour_start"].tolist() == [first.replace(minute=0), second.replace(minute=0)]
    assert found[["hour", "avg_aqi"]].to_numpy().tolist() == [[1, 100], [1, 200]]
    assert found["layer"].tolist() == ["batch", "speed"]
