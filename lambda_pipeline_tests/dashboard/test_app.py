"""The whole page over a fake serving layer: what is on it, and what it reads."""

from datetime import date, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from lambda_pipeline_tests.dashboard.fake_serving import HOSTILE_NAME, FakeServing, observations
from lambda_pipeline_tests.dashboard.opened_page import KEYS, TABS, drawn, opened, panel, refreshed, words


@pytest.fixture(scope="module")
def full() -> AppTest:
    return opened(FakeServing())


def test_there_are_exactly_four_tabs(full: AppTest) -> None:
    assert [tab.label for tab in full.tabs] == TABS


@pytest.mark.parametrize(("key", "charts"), [("heatmaps", 2), ("peaks", 11), ("statistics", 6), ("raw", 0)])
def test_the_open_tab_shows_its_charts_and_no_other_shows_anything(key: str, charts: int) -> None:
    app = opened(FakeServing(), tab=key)
    assert not app.exception
    assert panel(app).label == TABS[KEYS.index(key)]
    assert drawn(panel(app)) == charts
    assert [tab.label for tab in app.tabs if len(tab.children)] == [TABS[KEYS.index(key)]]


def test_the_header_says_how_fresh_and_how_much(full: AppTest) -> None:
    shown = {metric.label: (metric.value, metric.delta) for metric in full.metric}
    assert full.title[0].value == "Jakarta"
    assert shown["Newest observation"] == ("14:40 WIB", "2 min ago")
    assert int(shown["Observations served"][0].replace(",", "")) == len(FakeServing().table)
    assert shown["Batch layer"][0] == "12:50 WIB"
    assert "Live" in words(full)


def test_the_sidebar_offers_every_location_and_the_last_seven_city_days(full: AppTest) -> None:
    assert list(full.sidebar.multiselect[0].options) == sorted(FakeServing().places)
    assert full.sidebar.date_input[0].value == (date(2026, 3, 6), date(2026, 3, 12))
    for part in ("WIB", "Thu 12 Mar 2026", "Off-peak now", "06:00", "Batch", "Speed", "Serving"):
        assert part in words(full.sidebar), part


def test_whose_data_it_is_stands_in_the_side_and_at_the_foot(full: AppTest) -> None:
    foot = str(full.main.caption[-1].value)
    for part in ("World Air Quality Index Project", "Dinas Lingkungan Hidup DKI", "TomTom"):
        assert part in words(full.sidebar), part
        assert part in foot, part


@pytest.mark.parametrize("key", KEYS)
def test_a_refresh_reads_in_one_snapshot_and_asks_for_nothing_twice(key: str) -> None:
    serving = FakeServing()
    app = opened(serving, tab=key)
    serving.asked.clear()
    refreshed(app, serving)
    assert serving.asked.count("snapshot") == 1
    assert serving.asked[0] == "snapshot"
    for question in ("freshness", "heatmap", "statistics", "distribution", "observed_peaks", "count"):
        assert serving.asked.count(question) <= 1, question
    ranges = 2 if key == "statistics" else 1  # the chosen days, and those that the last hour is compared with
    assert serving.asked.count("city_hourly") == ranges


def test_sessions_that_look_at_the_same_share_a_read() -> None:
    serving = FakeServing()
    opened(serving)
    before = serving.snapshots
    opened(serving, lang="id", units="mph")
    assert serving.snapshots == before
    opened(serving, location="Krukut")
    assert serving.snapshots == before + 1


def test_choosing_a_location_narrows_the_tabs() -> None:
    serving = FakeServing()
    app = opened(serving, tab="raw")
    app.sidebar.multiselect[0].set_value(["Krukut"]).run()
    assert not app.exception
    assert set(panel(app).dataframe[0].value["location"]) == {"Krukut"}
    assert app.query_params["location"] == "Krukut"


def test_a_name_from_outside_is_text_and_a_place_without_coordinates_is_listed() -> None:
    app = opened(FakeServing.hostile())
    assert not app.exception
    assert "<img" not in words(app).replace("\\<", "")
    assert HOSTILE_NAME in list(app.sidebar.multiselect[0].options)  # widgets show plain text
    assert "Nowhere" in panel(app).dataframe[0].value.to_string()


def test_a_new_location_appears_in_the_side_by_itself_within_a_minute() -> None:
    serving = FakeServing()
    app = opened(serving)
    serving.places = {**serving.places, "New": (-6.3, 106.7)}
    serving.table = observations(places=serving.places)
    refreshed(app, serving, timedelta(minutes=1))
    assert "New" in list(app.sidebar.multiselect[0].options)


def test_the_last_seven_days_follow_a_page_left_open_over_midnight_and_chosen_days_stay() -> None:
    left, chosen = FakeServing(), FakeServing()
    app, other = opened(left), opened(chosen, **{"from": "2026-03-10", "to": "2026-03-11"})
    refreshed(app, left, timedelta(hours=12))
    refreshed(other, chosen, timedelta(hours=12))
    assert app.sidebar.date_input[0].value == (date(2026, 3, 7), date(2026, 3, 13))
    assert "from" not in app.query_params
    assert other.sidebar.date_input[0].value == (date(2026, 3, 10), date(2026, 3, 11))


def test_the_language_changes_everything_but_the_choice() -> None:
    app = opened(FakeServing(), tab="raw", location="Krukut", rows="500")
    app.sidebar.selectbox[0].set_value("id").run()
    assert not app.exception
    assert [tab.label for tab in app.tabs] == ["Peta Panas", "Analisis Jam Sibuk", "Statistik", "Data Mentah"]
    assert panel(app).label == "Data Mentah"
    assert set(panel(app).dataframe[0].value["location"]) == {"Krukut"}
    assert len(panel(app).dataframe[0].value) == 500
    assert app.query_params["lang"] == "id"
    assert {metric.label: metric.delta for metric in app.metric}["Pengamatan terbaru"] == "2 mnt lalu"


def test_an_address_with_nonsense_opens_the_page_and_says_what_was_left_out() -> None:
    app = opened(FakeServing(), location=["Atlantis", "Krukut"], tab="<script>", **{"from": "31.12.1999"})
    assert not app.exception
    assert app.sidebar.multiselect[0].value == ["Krukut"]
    said = next(str(info.value) for info in app.info)
    for name in ("`location`", "`tab`", "`from`"):
        assert name in said
    assert "script" not in words(app)
    app.sidebar.selectbox[1].set_value("mph").run()
    assert not app.info
    assert dict(app.query_params) == {"location": "Krukut", "units": "mph"}
