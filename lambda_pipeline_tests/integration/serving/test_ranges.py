"""Ranges of days, chosen locations, pages of observations."""

from datetime import timedelta

import pandas as pd
import pytest

from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.serving import frames
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline_tests.integration.serving import data
from lambda_pipeline_tests.integration.serving.data import Log, message
from lambda_pipeline_tests.integration.serving.ways import (
    AQI_COLUMNS,
    FIRST,
    RANGED,
    START,
    UNTIL,
    batch_only,
    both_layers,
)

pytestmark = pytest.mark.integration


def test_ranges_are_half_open_city_days(serving: ServingLayer, log: Log) -> None:
    log.append(
        message("Cinere", START - timedelta(seconds=1), aqi=1),
        message("Cinere", START, aqi=2),
        message("Cinere", START + timedelta(days=2, seconds=-1), aqi=3),
        message("Cinere", START + timedelta(days=2), aqi=4),
    )
    log.consume()
    city = serving.get_statistics(FIRST, UNTIL).iloc[0]
    assert (city["min_aqi"], city["max_aqi"]) == (2, 3)
    for name, column in AQI_COLUMNS.items():
        assert sorted(getattr(serving, name)(FIRST, UNTIL)[column]) == [2, 3], name


@pytest.mark.parametrize("chosen", [["Gunung"], ["Gunung", "Cinere"], [], ["nowhere"], ["Gunung'; --"]], ids=str)
def test_only_the_asked_locations_are_returned(serving: ServingLayer, log: Log, chosen: list[str]) -> None:
    log.append(*(message(place, START, aqi=50) for place in ("Cinere", "Gunung", "Krukut")))
    log.consume()
    expected = set(chosen) & {"Cinere", "Gunung"}
    for name in RANGED:
        found = getattr(serving, name)(FIRST, UNTIL, chosen)
        if name == "get_city_hourly":
            assert found["data_points_count"].sum() == len(expected)
        elif name == "get_distribution":
            assert found["hours"].sum() == len(expected)
        else:
            assert set(found["location"].dropna()) == expected, name


def test_statistics_of_some_locations_are_of_these_alone_also_in_the_citys_row(serving: ServingLayer, log: Log) -> None:
    log.append(message("Cinere", START, aqi=100), message("Gunung", START, aqi=300))
    log.consume()
    assert serving.get_statistics(FIRST, UNTIL, ["Gunung"])["avg_aqi"].tolist() == [300, 300]


def test_an_empty_range_is_an_empty_frame(serving: ServingLayer, log: Log) -> None:
    log.append(message("Cinere", START, aqi=50))
    log.consume()
    for name in RANGED:
        for days in ((FIRST, FIRST), (UNTIL, FIRST)):
            found = getattr(serving, name)(*days)
            assert found["hours"].sum() == 0 if name == "get_distribution" else found.empty


def test_pages_of_observations_are_newest_first_and_meet_without_gap_or_overlap(
    serving: ServingLayer, log: Log, two_days: list[ObservationMessage]
) -> None:
    both_layers(log, two_days)
    whole = serving.get_raw_data(FIRST, UNTIL, limit=None)
    size = 400
    pages = [serving.get_raw_data(FIRST, UNTIL, limit=size, offset=at) for at in range(0, len(whole), size)]
    assert len(pages) > 2
    pd.testing.assert_frame_equal(pd.concat(pages, ignore_index=True), whole)
    assert whole["timestamp"].is_monotonic_decreasing
    assert len(serving.get_raw_data(FIRST, UNTIL)) == 500
    assert serving.get_raw_data(FIRST, UNTIL, offset=len(whole)).empty


def test_stored_but_unpublished_observations_are_not_served(serving: ServingLayer, log: Log) -> None:
    log.append(message("Cinere", START, aqi=10))
    log.store()
    assert serving.get_raw_data(FIRST, UNTIL).empty
    assert serving.get_hourly(FIRST, UNTIL).empty
    log.consume()
    assert serving.get_raw_data(FIRST, UNTIL)["layer"].tolist() == ["speed"]
    log.publish()
    assert serving.get_raw_data(FIRST, UNTIL)["layer"].tolist() == ["batch"]


def test_a_late_observation_that_is_stored_in_a_published_hour_is_served_by_the_speed_layer_alone(
    serving: ServingLayer, log: Log
) -> None:
    batch_only(log, [message("Cinere", START, aqi=10)])
    log.append(message("Cinere", START + timedelta(minutes=30), aqi=20))
    log.store()
    assert serving.get_raw_data(FIRST, UNTIL)["aqi_value"].tolist() == [10]
    log.consume()
    assert serving.get_raw_data(FIRST, UNTIL)[["aqi_value", "layer"]].to_numpy().tolist() == [
        [20, "speed"],
        [10, "batch"],
    ]
    assert serving.get_freshness()["observations"].tolist() == [1, 1]


def test_streamed_observations_are_all_of_them_oldest_first(
    serving: ServingLayer, log: Log, two_days: list[ObservationMessage]
) -> None:
    both_layers(log, two_days)
    with serving.snapshot() as view:
        chunks = list(view.stream_raw_data(FIRST, UNTIL, chunk_rows=300))
    assert max(len(chunk) for chunk in chunks) == 300
    assert all(data.dtypes(chunk) == dict(frames.RAW) for chunk in chunks)
    streamed = pd.concat(chunks, ignore_index=True)
    pages = serving.get_raw_data(FIRST, UNTIL, limit=None)
    order = ["timestamp", "location"]
    assert streamed["timestamp"].is_monotonic_increasing
    pd.testing.assert_frame_equal(
        streamed.sort_values(order, ignore_index=True), pages.sort_values(order, ignore_index=True)
    )
