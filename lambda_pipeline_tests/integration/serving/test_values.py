"""The serving layer against pandas: whatever way an observation came in, it is served once, and rightly."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.domain.peak_hours import PeakWindow
from lambda_pipeline.domain.traffic import traffic_level_name
from lambda_pipeline.serving import frames
from lambda_pipeline.serving.layer import ServingLayer, ServingView
from lambda_pipeline.storage.deployment import claim
from lambda_pipeline_tests.integration.serving import data
from lambda_pipeline_tests.integration.serving.data import Log, message
from lambda_pipeline_tests.integration.serving.ways import (
    EXPECTED,
    FIRST,
    PLACES,
    START,
    UNTIL,
    batch_only,
    speed_only,
    ways,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


@ways
def test_hours_are_what_pandas_computes(
    serving: ServingLayer,
    log: Log,
    two_days: list[ObservationMessage],
    observed: pd.DataFrame,
    feed: Callable[..., None],
) -> None:
    feed(log, two_days)
    found = serving.get_hourly(FIRST, UNTIL)
    data.assert_equal(found, data.hourly(observed), without=["expected_count", "layer"])
    assert set(found["layer"]) == {speed_only: {"speed"}, batch_only: {"batch"}}.get(feed, {"speed", "batch", "both"})
    published = found["layer"] != "speed"
    assert (found.loc[published, "expected_count"] == EXPECTED).all()


@ways
def test_days_are_what_pandas_computes(
    serving: ServingLayer,
    log: Log,
    two_days: list[ObservationMessage],
    observed: pd.DataFrame,
    feed: Callable[..., None],
) -> None:
    feed(log, two_days)
    found = serving.get_daily(FIRST, UNTIL)
    data.assert_equal(found, data.daily(observed), without=["expected_count", "is_peak_hour"])
    assert found["is_peak_hour"].isna().all()


@ways
def test_peak_hours_analysis_is_what_pandas_computes(
    serving: ServingLayer,
    log: Log,
    two_days: list[ObservationMessage],
    observed: pd.DataFrame,
    feed: Callable[..., None],
) -> None:
    feed(log, two_days)
    expected = data.hourly(observed).rename(
        columns={"avg_aqi": "avg_aqi_value", "avg_traffic": "avg_traffic_level", "data_points_count": "total_records"}
    )
    expected["is_weekend"] = expected["date"].dt.day_of_week >= 5
    data.assert_equal(serving.get_peak_hours_analysis(FIRST, UNTIL), expected, without=["layer"])


@ways
def test_statistics_are_what_pandas_computes_and_the_citys_are_weighted_by_observations(
    serving: ServingLayer,
    log: Log,
    two_days: list[ObservationMessage],
    observed: pd.DataFrame,
    feed: Callable[..., None],
) -> None:
    feed(log, two_days)
    found = serving.get_statistics(FIRST, UNTIL)
    data.assert_equal(found, data.statistics(observed), without=["expected_count"])
    assert found["location"].isna().tolist() == [True, False, False, False, False]


@ways
def test_hours_of_the_city_are_what_pandas_computes_of_all_and_of_chosen_locations(
    serving: ServingLayer,
    log: Log,
    two_days: list[ObservationMessage],
    observed: pd.DataFrame,
    feed: Callable[..., None],
) -> None:
    feed(log, two_days)
    for chosen in (None, list(PLACES), ["Cinere", "Krukut"]):
        found = serving.get_city_hourly(FIRST, UNTIL, chosen)
        places = chosen or PLACES
        expected = data.city_hourly(observed[observed["location"].isin(places)])
        data.assert_equal(found, expected, without=["expected_count", "layer"])
        at_places = serving.get_hourly(FIRST, UNTIL, chosen).groupby("hour_start")
        layers = at_places["layer"].agg(lambda of: of.iloc[0] if of.nunique() == 1 else "both")
        assert found["layer"].tolist() == layers.tolist()
        counts = at_places["expected_count"].sum(min_count=1)
        assert found["expected_count"].tolist() == counts.tolist()


@ways
def test_an_hour_is_what_the_hours_of_its_locations_are(
    serving: ServingLayer, log: Log, two_days: list[ObservationMessage], feed: Callable[..., None]
) -> None:
    feed(log, two_days)
    hourly = serving.get_hourly(FIRST, UNTIL)
    coordinates = serving.get_combined_heatmap_data().set_index("location")[["latitude", "longitude"]]
    for hour_start, rows in hourly.groupby("hour_start"):
        expected = rows.join(coordinates, on="location").reset_index(drop=True)
        pd.testing.assert_frame_equal(serving.get_hour(hour_start.to_pydatetime()), expected[list(frames.HOUR)])
    assert serving.get_hour(START + timedelta(minutes=1)).empty
    assert serving.get_hour(START - timedelta(hours=1)).empty


@ways
def test_the_distribution_counts_hours_at_locations_by_the_band_of_their_average(
    serving: ServingLayer,
    log: Log,
    two_days: list[ObservationMessage],
    observed: pd.DataFrame,
    feed: Callable[..., None],
) -> None:
    feed(log, two_days)
    for chosen in (None, list(PLACES), ["Cinere", "Krukut"]):
        mine = observed[observed["location"].isin(chosen or PLACES)]
        data.assert_equal(serving.get_distribution(FIRST, UNTIL, chosen), data.distribution(mine))
    second = observed[observed["date"] == pd.Timestamp(FIRST + timedelta(days=1))]
    data.assert_equal(serving.get_distribution(FIRST + timedelta(days=1), UNTIL), data.distribution(second))


@pytest.mark.parametrize("seed", range(5))
def test_statistics_and_distribution_are_those_of_the_hours_whatever_each_layer_holds(
    serving: ServingLayer, log: Log, seed: int
) -> None:
    """Days whose rows are fresh, published since or never computed, with and without something in the speed layer."""
    dice = random.Random(seed)
    messages = data.some_days(START, 4, PLACES, seed)
    dice.shuffle(messages)
    days = [FIRST + timedelta(days=number) for number in range(5)]
    steps = [
        lambda: log.consume(dice.randint(log.consumed, len(log.records))),
        lambda: log.store(dice.randint(log.stored, len(log.records))),
        lambda: log.publish(*sorted(dice.sample(days, 2))),
        lambda: log.compute_days(*sorted(dice.sample(days, 2))),
    ]
    for start in range(0, len(messages), 300):
        log.append(*messages[start : start + 300])
        for step in dice.choices(steps, k=4):
            step()
        first, until = sorted(dice.sample(days, 2))
        chosen = dice.choice([None, None, dice.sample(PLACES, 2)])
        with serving.snapshot() as view:
            found = view.get_statistics(first, until, chosen)
            expected = statistics_of_hours(view, first, until, chosen)
            assert [tuple(row) for row in found[list(expected[0])].to_numpy(dtype=object, na_value=None)] == expected[1]
            hours = view.get_hourly(first, until, chosen)
            spread = view.get_distribution(first, until, chosen)
        bands = (
            hours["aqi_category"].value_counts().to_dict()
            | hours["avg_traffic"].map(traffic_level_name).value_counts().to_dict()
        )
        assert spread["hours"].tolist() == [bands.get(band, 0) for band in spread["band"]]


def statistics_of_hours(
    view: ServingView, first: date, until: date, chosen: list[str] | None
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The same figures from nothing but the hours, exactly: columns and rows."""
    figures = {
        "avg_aqi": "sum(aqi_sum)::float8 / nullif(sum(aqi_count), 0)::float8",
        "min_aqi": "min(min_aqi)",
        "max_aqi": "max(max_aqi)",
        "avg_traffic": "sum(traffic_sum)::float8 / nullif(sum(traffic_count), 0)::float8",
        "avg_speed": "sum(speed_sum_m_h)::float8 / nullif(sum(speed_count), 0)::float8 / 1000",
        "peak_avg_aqi": "sum(aqi_sum) filter (where is_peak_hour)::float8 "
        "/ nullif(sum(aqi_count) filter (where is_peak_hour), 0)::float8",
        "off_peak_avg_traffic": "sum(traffic_sum) filter (where not is_peak_hour)::float8 "
        "/ nullif(sum(traffic_count) filter (where not is_peak_hour), 0)::float8",
        "data_points_count": "sum(data_points_count)::bigint",
        "aqi_count": "sum(aqi_count)::bigint",
        "traffic_count": "sum(traffic_count)::bigint",
        "expected_count": "sum(expected_count)::bigint",
    }
    query = (
        f"select location, {', '.join(figures.values())} from served_hourly where date >= :first and date < :until "
        "and (cast(:chosen as text[]) is null or location = any(:chosen)) "
        "group by grouping sets ((location), ()) having count(*) > 0 order by location nulls first"
    )
    rows = view.rows(sa.text(query), {"first": first, "until": until, "chosen": chosen})
    return ["location", *figures], [tuple(row) for row in rows]


def test_a_change_of_the_peak_windows_shows_in_the_statistics_of_days_that_were_computed_before(
    database: Database, serving: ServingLayer, log: Log, jakarta: City
) -> None:
    batch_only(log, [message("Cinere", START + timedelta(hours=hour), aqi=hour) for hour in range(24)])
    assert serving.get_statistics(FIRST, UNTIL)["peak_avg_aqi"].tolist() == [12.5, 12.5]
    with database.writer.begin() as connection:
        claim(connection, replace(jakarta, peak_windows=(PeakWindow(10, 12),)), FIRST)
    assert serving.get_statistics(FIRST, UNTIL)["peak_avg_aqi"].tolist() == [10.5, 10.5]
    assert serving.get_daily(FIRST, UNTIL)["peak_avg_aqi"].tolist() == [10.5]
    log.compute_days()
    assert serving.get_daily(FIRST, UNTIL)["peak_avg_aqi"].tolist() == [10.5]


@ways
def test_observations_are_served_once_with_their_values(
    serving: ServingLayer,
    log: Log,
    two_days: list[ObservationMessage],
    observed: pd.DataFrame,
    feed: Callable[..., None],
) -> None:
    feed(log, two_days)
    found = serving.get_raw_data(FIRST, UNTIL, limit=None)
    expected = observed.sort_values(["timestamp", "location"], ascending=[False, True], ignore_index=True)
    expected = expected.assign(
        aqi_value=expected["aqi"].astype("Int64"),
        traffic_level=expected["level"].astype("Int64"),
        current_speed=expected["speed"],
        free_flow_speed=expected["free"],
        road_closure=expected["closed"].astype("boolean"),
        aqi_category=expected["aqi"].map(data.category).astype("str"),
        is_peak_hour=expected["peak"],
    )
    data.assert_equal(found, expected, without=["latitude", "longitude", "pollutants", "source", "layer"])
    assert set(found["source"]) == {"kafka"}


def test_missing_halves_never_count_as_zero(serving: ServingLayer, log: Log) -> None:
    log.append(
        message("Cinere", START, aqi=80),
        message("Cinere", START + timedelta(minutes=6), level=4),
        message("Cinere", START + timedelta(minutes=12)),
    )
    log.consume()
    row = serving.get_hourly(FIRST, UNTIL).iloc[0]
    assert (row["avg_aqi"], row["min_aqi"], row["avg_traffic"], row["min_traffic"]) == (80, 80, 4, 4)
    assert (row["data_points_count"], row["aqi_count"], row["traffic_count"]) == (3, 1, 1)
    city = serving.get_statistics(FIRST, UNTIL).iloc[0]
    assert (city["avg_aqi"], city["avg_traffic"]) == (80, 4)


def test_an_hour_without_a_measure_has_no_average_and_category_unknown(serving: ServingLayer, log: Log) -> None:
    log.append(message("Cinere", START))
    log.consume()
    row = serving.get_hourly(FIRST, UNTIL).iloc[0]
    assert pd.isna(row["avg_aqi"])
    assert pd.isna(row["avg_traffic"])
    assert row["aqi_category"] == "Unknown"


def test_city_average_is_weighted_by_observations_not_by_locations(serving: ServingLayer, log: Log) -> None:
    many = [message("Cinere", START + timedelta(minutes=n), aqi=10) for n in range(9)]
    log.append(*many, message("Gunung", START, aqi=110))
    log.consume()
    assert serving.get_statistics(FIRST, UNTIL).iloc[0]["avg_aqi"] == 20


def test_a_late_event_changes_a_published_hour_at_once_and_is_moved_by_the_next_publish(
    serving: ServingLayer, log: Log
) -> None:
    batch_only(log, [message("Cinere", START, aqi=100)])
    log.consume()
    log.append(message("Cinere", START + timedelta(minutes=30), aqi=300))
    log.consume()
    seen = serving.get_hourly(FIRST, UNTIL).iloc[0]
    assert (seen["avg_aqi"], seen["max_aqi"], seen["data_points_count"], seen["layer"]) == (200, 300, 2, "both")
    log.store()
    log.publish()
    assert serving.get_hourly(FIRST, UNTIL).iloc[0]["layer"] == "batch"
    assert serving.get_hourly(FIRST, UNTIL).iloc[0]["avg_aqi"] == 200


def test_a_late_event_changes_a_computed_day_at_once(serving: ServingLayer, log: Log) -> None:
    batch_only(log, [message("Cinere", START, aqi=100)])
    log.append(message("Cinere", START + timedelta(hours=7), aqi=300))  # 07:00: a peak hour
    log.consume()
    row = serving.get_daily(FIRST, UNTIL).iloc[0]
    assert (row["avg_aqi"], row["peak_avg_aqi"], row["off_peak_avg_aqi"]) == (200, 300, 100)


def test_a_day_that_was_published_again_after_its_tables_were_computed_comes_from_its_hours(
    serving: ServingLayer, log: Log
) -> None:
    batch_only(log, [message("Cinere", START, aqi=100)])
    log.append(message("Cinere", START + timedelta(hours=1), aqi=300))
    log.store()
    log.publish()
    assert serving.get_daily(FIRST, UNTIL).iloc[0]["avg_aqi"] == 200
