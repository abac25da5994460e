"""What is now, how fresh it is, and whose city it is."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.domain.peak_hours import PeakWindow
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline_tests.integration.serving.data import Log, message
from lambda_pipeline_tests.integration.serving.ways import FIRST, START, UNTIL, batch_only, both_layers
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


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
