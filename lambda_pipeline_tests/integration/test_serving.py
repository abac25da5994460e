"""The serving layer against pandas: whatever way an observation came in, it is served once, and rightly."""

import inspect
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.domain.peak_hours import PeakWindow
from lambda_pipeline.domain.traffic import traffic_level_name
from lambda_pipeline.errors import DatabaseUnavailableError, SchemaError
from lambda_pipeline.local.home import free_port
from lambda_pipeline.resources import ServingResource
from lambda_pipeline.serving import frames
from lambda_pipeline.serving.layer import ServingLayer, ServingView
from lambda_pipeline.storage.deployment import claim
from lambda_pipeline.storage.engine import make_engine
from lambda_pipeline_tests.integration import serving_data as data
from lambda_pipeline_tests.integration.serving_data import Log, message
from lambda_pipeline_tests.servers import POLL_INTERVAL, Database

pytestmark = pytest.mark.integration

ZONE = "Asia/Jakarta"
WINDOWS = ((6, 10), (16, 20))
PLACES = ("Cinere", "Gunung", "Kemayoran", "Krukut")  # the last one never has an AQI
FIRST, UNTIL = date(2025, 3, 3), date(2025, 3, 5)  # a Monday and a Tuesday
START = datetime(2025, 3, 2, 17, tzinfo=UTC)  # Monday 00:00 in Jakarta
DAYS = 2
EXPECTED = 60 // (POLL_INTERVAL.seconds // 60)  # observations an hour and location

READS: Mapping[str, tuple[Mapping[str, str], Callable[[ServingView], pd.DataFrame]]] = {
    "get_combined_heatmap_data": (frames.HEATMAP, lambda view: view.get_combined_heatmap_data()),
    "get_hourly": (frames.HOURLY, lambda view: view.get_hourly(FIRST, UNTIL)),
    "get_daily": (frames.DAILY, lambda view: view.get_daily(FIRST, UNTIL)),
    "get_peak_hours_analysis": (frames.PEAK_HOURS, lambda view: view.get_peak_hours_analysis(FIRST, UNTIL)),
    "get_observed_peaks": (frames.OBSERVED_PEAKS, lambda view: view.get_observed_peaks(FIRST, UNTIL)),
    "get_statistics": (frames.STATISTICS, lambda view: view.get_statistics(FIRST, UNTIL)),
    "get_city_hourly": (frames.CITY_HOURLY, lambda view: view.get_city_hourly(FIRST, UNTIL)),
    "get_hour": (frames.HOUR, lambda view: view.get_hour(START)),
    "get_distribution": (frames.DISTRIBUTION, lambda view: view.get_distribution(FIRST, UNTIL)),
    "get_raw_data": (frames.RAW, lambda view: view.get_raw_data(FIRST, UNTIL)),
    "get_dead_letters": (frames.DEAD_LETTERS, lambda view: view.get_dead_letters()),
    "get_freshness": (frames.FRESHNESS, lambda view: view.get_freshness()),
}
AQI_COLUMNS = {
    "get_hourly": "avg_aqi", "get_daily": "avg_aqi", "get_peak_hours_analysis": "avg_aqi_value",
    "get_raw_data": "aqi_value",
}  # fmt: skip
ARGUMENTS: Mapping[str, tuple[Any, ...]] = {  # of what is not asked by a range of days
    "get_combined_heatmap_data": (), "get_hour": (START,), "get_dead_letters": (), "get_freshness": (),
}  # fmt: skip
RANGED = [name for name in READS if name not in ARGUMENTS]
SOME_ROWS = {"get_combined_heatmap_data": 10, "get_distribution": 11, "get_freshness": 2}  # of an unused database
AGES = ["age_seconds", "aqi_age_seconds", "traffic_age_seconds"]


@pytest.fixture
def serving(database: Database) -> ServingLayer:
    """As the role that may only read."""
    return ServingLayer(database.reader)


@pytest.fixture
def log(database: Database) -> Log:
    return Log(database)


@pytest.fixture(scope="module")
def two_days() -> list[ObservationMessage]:
    return data.some_days(START, DAYS, PLACES)


@pytest.fixture(scope="module")
def observed(two_days: list[ObservationMessage]) -> pd.DataFrame:
    return data.as_frame(two_days, ZONE, WINDOWS)


def speed_only(log: Log, messages: list[ObservationMessage]) -> None:
    log.append(*messages)
    log.consume()


def batch_only(log: Log, messages: list[ObservationMessage]) -> None:
    log.append(*messages)
    log.store()
    log.publish()
    log.compute_days()


def both_layers(log: Log, messages: list[ObservationMessage]) -> None:
    """Most of it published, out of an hour that goes on; then repeated and late observations."""
    late, punctual = messages[5::50], [m for number, m in enumerate(messages) if number % 50 != 5]
    log.append(*punctual)
    most = len(punctual) * 2 // 3
    log.consume(most + 40)
    log.store(most)
    log.publish()
    log.compute_days()
    log.append(*late, *punctual[:100])
    log.consume()


WAYS = [speed_only, batch_only, both_layers]
ways = pytest.mark.parametrize("feed", WAYS)


# ---------------------------------------------------------------- columns and dtypes


def test_every_read_of_the_layer_is_in_this_table() -> None:
    methods = {name for name, _ in inspect.getmembers(ServingLayer, inspect.isfunction) if name.startswith("get_")}
    assert methods == set(READS)


def test_frames_of_an_unused_database_have_the_documented_columns_and_dtypes(serving: ServingLayer) -> None:
    with serving.snapshot() as view:
        for name, (columns, read) in READS.items():
            found = read(view)
            assert list(found.columns) == list(columns)
            assert data.dtypes(found) == dict(columns)
            assert len(found) == SOME_ROWS.get(name, 0)


def test_heatmap_without_any_location_has_the_documented_columns_and_dtypes(database: Database) -> None:
    database.claim(City("Nowhere", ZONE))
    found = ServingLayer(database.reader).get_combined_heatmap_data()
    assert found.empty
    assert data.dtypes(found) == dict(frames.HEATMAP)


@ways
def test_full_frames_have_the_documented_columns_and_dtypes(
    serving: ServingLayer, log: Log, two_days: list[ObservationMessage], feed: Callable[..., None]
) -> None:
    feed(log, two_days)
    log.reject(b"nonsense")
    with serving.snapshot() as view:
        for columns, read in READS.values():
            found = read(view)
            assert not found.empty
            assert list(found.columns) == list(columns)
            assert data.dtypes(found) == dict(columns)


@pytest.mark.parametrize("feed", [speed_only, batch_only])
@pytest.mark.parametrize("measures", [{}, {"aqi": 50}, {"level": 3}, {"speeds": (20.0, 0.0)}], ids=str)
def test_columns_that_are_all_missing_keep_their_dtypes(
    serving: ServingLayer, log: Log, feed: Callable[..., None], measures: dict[str, Any]
) -> None:
    feed(log, [message("Cinere", START, **measures)])
    with serving.snapshot() as view:
        for columns, read in READS.values():
            assert data.dtypes(read(view)) == dict(columns)


# ---------------------------------------------------------------- values


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


# ---------------------------------------------------------------- ranges, filters, pages


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


# ---------------------------------------------------------------- now


def test_heatmap_has_a_row_per_location_of_the_catalogue_sorted_by_name(serving: ServingLayer, jakarta: City) -> None:
    found = serving.get_combined_heatmap_data()
    assert found["location"].tolist() == sorted(place.name for place in jakarta.locations)
    assert found["observed_at"].isna().all()
    assert found["layer"].isna().all()
    assert found["age_seconds"].isna().all()
    assert set(found["aqi_category"]) == {"Unknown"}
    assert not found["is_peak_hour"].any()
    assert found["latitude"].between(-7, -6).all()


def heatmap_of(serving: ServingLayer, location: str) -> pd.Series:
    found = serving.get_combined_heatmap_data()
    return found[found["location"] == location].iloc[0]


def test_heatmap_shows_the_newest_value_of_each_measure_with_its_own_time(serving: ServingLayer, log: Log) -> None:
    times = [START + timedelta(minutes=6 * number) for number in range(4)]
    log.append(
        message("Cinere", times[0], aqi=180, pollutants={"pm25": 180.5}, dominant_pollutant="pm25"),
        message("Cinere", times[1], level=2, speeds=(30.0, 40.0)),
        message("Cinere", times[2]),
    )
    log.consume()
    row = heatmap_of(serving, "Cinere")
    assert (row["aqi_value"], row["aqi_observed_at"], row["aqi_category"]) == (180, times[0], "Unhealthy")
    assert (row["traffic_level"], row["traffic_observed_at"], row["current_speed"]) == (2, times[1], 30.0)
    assert (row["observed_at"], row["congestion_ratio"]) == (times[2], 0.25)
    assert row["pollutants"] == '{"pm25": 180.5}'


def test_heatmap_is_not_turned_back_by_a_late_event(serving: ServingLayer, log: Log) -> None:
    log.append(message("Cinere", START + timedelta(hours=1), aqi=20, level=1))
    log.consume()
    log.append(message("Cinere", START, aqi=400, level=5))
    log.consume()
    row = heatmap_of(serving, "Cinere")
    assert (row["aqi_value"], row["traffic_level"], row["observed_at"]) == (20, 1, START + timedelta(hours=1))


def test_heatmap_ages_are_counted_from_the_observation_of_each_measure(serving: ServingLayer, log: Log) -> None:
    log.append(message("Cinere", START, aqi=1), message("Cinere", START + timedelta(hours=1), level=1))
    log.consume()
    before = datetime.now(UTC)
    row = heatmap_of(serving, "Cinere")
    after = datetime.now(UTC)
    for column, since in (("aqi_age_seconds", START), ("traffic_age_seconds", START + timedelta(hours=1))):
        assert (before - since).total_seconds() - 1 <= row[column] <= (after - since).total_seconds() + 1
    assert row["age_seconds"] == row["traffic_age_seconds"]


def test_heatmap_names_the_layer_that_holds_the_newest_observation(serving: ServingLayer, log: Log) -> None:
    log.append(message("Cinere", START, aqi=1), message("Gunung", START, aqi=1))
    log.consume()
    assert heatmap_of(serving, "Cinere")["layer"] == "speed"
    log.store()
    log.publish()
    assert heatmap_of(serving, "Cinere")["layer"] == "batch"
    log.append(message("Cinere", START + timedelta(minutes=1), aqi=2))
    log.consume()
    assert heatmap_of(serving, "Cinere")["layer"] == "speed"
    assert heatmap_of(serving, "Gunung")["layer"] == "batch"


def test_peak_flags_follow_the_citys_own_hours(serving: ServingLayer, log: Log) -> None:
    expected = [6 <= hour < 10 or 16 <= hour < 20 for hour in range(24)]
    for hour, peak in enumerate(expected):
        log.append(message("Cinere", START + timedelta(hours=hour, minutes=59, seconds=59), aqi=1))
        log.consume()
        assert heatmap_of(serving, "Cinere")["is_peak_hour"] == peak
    for name in ("get_hourly", "get_peak_hours_analysis", "get_raw_data"):
        found = getattr(serving, name)(FIRST, UNTIL)
        order = "timestamp" if "timestamp" in found else "hour_start"
        assert found.sort_values(order)["is_peak_hour"].tolist() == expected, name


def test_peak_flags_follow_the_windows_of_the_catalogue_also_for_what_was_published_before(
    database: Database, serving: ServingLayer, log: Log, jakarta: City
) -> None:
    batch_only(log, [message("Cinere", START + timedelta(hours=7), aqi=1)])
    assert serving.get_hourly(FIRST, UNTIL)["is_peak_hour"].tolist() == [True]
    with database.owner.begin() as connection:
        connection.execute(sa.text("update peak_windows set start_hour = 8 where start_hour = 6"))
    assert serving.get_hourly(FIRST, UNTIL)["is_peak_hour"].tolist() == [False]
    assert serving.get_raw_data(FIRST, UNTIL)["is_peak_hour"].tolist() == [False]
    assert not heatmap_of(serving, "Cinere")["is_peak_hour"]


def test_a_location_that_was_switched_off_stays_if_it_was_ever_observed(
    database: Database, serving: ServingLayer, log: Log
) -> None:
    log.append(message("Cinere", START, aqi=1))
    log.consume()
    with database.owner.begin() as connection:
        connection.execute(sa.text("update locations set is_active = false where name in ('Cinere', 'Gunung')"))
    shown = set(serving.get_combined_heatmap_data()["location"])
    assert "Cinere" in shown
    assert "Gunung" not in shown


def test_peak_hours_analysis_includes_today_up_to_the_newest_observation(
    serving: ServingLayer, log: Log, jakarta: City
) -> None:
    newest = datetime.now(UTC).replace(microsecond=0)
    log.append(message("Cinere", newest, aqi=70, level=3))
    log.consume()
    clock = jakarta.clock()
    today = clock.city_date(newest)
    found = serving.get_peak_hours_analysis(today, today + timedelta(days=1))
    assert found["hour_start"].tolist() == [clock.hour_start(newest)]
    assert found[["avg_aqi_value", "avg_traffic_level", "total_records"]].to_numpy().tolist() == [[70, 3, 1]]


def test_weekends_are_the_citys_saturdays_and_sundays(serving: ServingLayer, log: Log) -> None:
    for day in range(7):  # the first and the last minute of each, from Monday on
        start = START + timedelta(days=day)
        log.append(message("Cinere", start, aqi=1), message("Cinere", start + timedelta(minutes=1439), aqi=1))
    log.consume()
    found = serving.get_peak_hours_analysis(FIRST, FIRST + timedelta(days=7))
    assert found["is_weekend"].tolist() == [False] * 10 + [True] * 4


# ---------------------------------------------------------------- freshness and the city


def test_freshness_of_an_unused_database_is_two_empty_layers(serving: ServingLayer) -> None:
    found = serving.get_freshness()
    assert found["layer"].tolist() == ["speed", "batch"]
    assert found[["newest_observation", "age_seconds", "updated_at"]].isna().all(axis=None)
    assert found[["observations", "hours", "dead_letters"]].to_numpy().tolist() == [[0, 0, 0], [0, 0, 0]]


def test_freshness_counts_what_each_layer_serves(
    serving: ServingLayer, log: Log, two_days: list[ObservationMessage], observed: pd.DataFrame
) -> None:
    both_layers(log, two_days)
    found = serving.get_freshness().set_index("layer")
    raw = serving.get_raw_data(FIRST, UNTIL, limit=None)
    assert found["observations"].sum() == len(observed)
    assert found["observations"].to_dict() == raw["layer"].value_counts().to_dict()
    assert found.loc["speed", "newest_observation"] == observed["timestamp"].max()
    assert found.loc["batch", "newest_observation"] == raw.loc[raw["layer"] == "batch", "timestamp"].max()
    assert (found["updated_at"] <= pd.Timestamp.now("UTC") + pd.Timedelta(seconds=1)).all()


def test_city_is_what_the_database_belongs_to(database: Database) -> None:
    windows = (PeakWindow(7, 9), PeakWindow(17, 24))
    database.claim(City("Kathmandu", "Asia/Kathmandu", windows), date(2025, 2, 1))
    city = ServingLayer(database.reader).city()
    assert (city.name, city.timezone, city.history_start) == ("Kathmandu", "Asia/Kathmandu", date(2025, 2, 1))
    assert city.peak_windows == windows
    assert city.clock().place(datetime(2025, 3, 3, 18, 15, tzinfo=UTC))[2:] == (0, False)


# ---------------------------------------------------------------- zones


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


# ---------------------------------------------------------------- one snapshot


@pytest.mark.parametrize("change", ["consume", "publish"])
def test_a_snapshot_sees_one_instant_whatever_others_commit_meanwhile(
    serving: ServingLayer, log: Log, change: str
) -> None:
    log.append(*(message("Cinere", START + timedelta(minutes=n), aqi=10 * n) for n in range(6)))
    log.consume(3)
    log.store(2)
    with serving.snapshot() as view:
        before = [read(view).drop(columns=AGES, errors="ignore") for _, read in READS.values()]
        if change == "consume":
            assert log.consume() == 3
        else:
            assert log.publish() == 1
        during = [read(view).drop(columns=AGES, errors="ignore") for _, read in READS.values()]
    for one, other in zip(before, during, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert not serving.get_freshness()["observations"].equals(before[-1]["observations"])


def test_a_snapshot_cannot_write_even_as_the_owner(database: Database) -> None:
    with (
        pytest.raises(sa.exc.DBAPIError, match="read-only transaction"),
        ServingLayer(database.owner).snapshot() as view,
    ):
        view.scalar(sa.text("delete from realtime_data returning 1"))


def test_the_reader_may_not_write(database: Database) -> None:
    with (
        pytest.raises(sa.exc.DBAPIError, match="permission denied"),
        database.reader.begin() as connection,
    ):
        connection.execute(sa.text("delete from realtime_data"))


# ---------------------------------------------------------------- errors


def every_method(layer: ServingLayer) -> dict[str, Callable[[], object]]:
    """The layer's own methods, each with what it has to be given."""
    found = {name: partial(getattr(layer, name), *ARGUMENTS.get(name, (FIRST, UNTIL))) for name in READS}
    return found | {"city": layer.city, "count_raw_data": partial(layer.count_raw_data, FIRST, UNTIL)}


def test_a_server_that_is_away_is_database_unavailable() -> None:
    layer = ServingLayer(make_engine(f"postgresql://nobody:verysecret@127.0.0.1:{free_port()}/nothing", "test"))
    for call in every_method(layer).values():
        with pytest.raises(DatabaseUnavailableError) as caught:
            call()
        assert "verysecret" not in str(caught.value)


def test_an_empty_database_is_a_schema_error_that_says_what_to_do(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url, "test")
    try:
        for call in every_method(ServingLayer(engine)).values():
            with pytest.raises(SchemaError, match="lambda-pipeline db upgrade"):
                call()
    finally:
        engine.dispose()


def test_a_database_that_belongs_to_no_city_is_a_schema_error(database: Database) -> None:
    with database.owner.begin() as connection:
        connection.execute(sa.text("delete from deployment"))
    with pytest.raises(SchemaError, match="db upgrade"):
        ServingLayer(database.reader).city()


# ---------------------------------------------------------------- Dagster's resource


def test_the_dagster_resource_is_equal_to_the_class(
    database: Database,
    serving: ServingLayer,
    log: Log,
    two_days: list[ObservationMessage],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    both_layers(log, two_days)
    monkeypatch.chdir(tmp_path)  # no .env
    monkeypatch.setenv("DATABASE_URL", database.url())
    monkeypatch.setenv("LAMBDA_READER_DATABASE_URL", database.url("lambda_reader"))
    layer = ServingResource().layer()
    assert type(layer) is ServingLayer
    with layer.snapshot() as view:
        assert view.scalar(sa.text("select current_user")) == "lambda_reader"
    assert layer.city() == serving.city()
    ours_by_name = every_method(serving)
    for name, call in every_method(layer).items():
        found, expected = call(), ours_by_name[name]()
        assert type(found) is type(expected)
        if isinstance(found, pd.DataFrame) and isinstance(expected, pd.DataFrame):
            found, expected = (frame.drop(columns=AGES, errors="ignore") for frame in (found, expected))
            pd.testing.assert_frame_equal(found, expected, obj=name)
        else:
            assert found == expected


def test_the_dagster_resource_reads_as_the_writer_where_no_reader_is_named(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database.url())
    monkeypatch.delenv("LAMBDA_READER_DATABASE_URL", raising=False)
    with ServingResource().layer().snapshot() as view:
        assert view.scalar(sa.text("select current_user")) == "lambda_writer"
