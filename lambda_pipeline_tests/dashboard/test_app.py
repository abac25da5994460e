"""The whole page over a fake serving layer: every tab, and every state that it must survive."""

import csv
import io
from datetime import date, timedelta
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import reading
from dashboard.languages import english
from dashboard.texts import LANGUAGES
from lambda_pipeline.errors import SchemaError
from lambda_pipeline_tests.dashboard.fake_serving import HOSTILE_NAME, NOW, FakeServing, observations

TABS = ["Heatmaps", "Peak Hours Analysis", "Statistics", "Raw Data"]


def page(serving: "FakeServing") -> None:
    """The script that Streamlit runs. Its source is copied, hence the imports within."""
    from dashboard import app
    from dashboard.context import PageOptions

    app.main(lambda: serving, PageOptions(refresh_seconds=10), now=lambda: serving.now)


def opened(serving: FakeServing, tab: str = TABS[0]) -> AppTest:
    app = AppTest.from_function(page, kwargs={"serving": serving}, default_timeout=60)
    app.session_state["tabs"] = tab
    return app.run()


def refreshed(app: AppTest, serving: FakeServing) -> AppTest:
    """The same page at its next refresh."""
    serving.now += timedelta(seconds=10)
    return app.run()


def words(app: AppTest) -> str:
    """Everything that is written on the page."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "code", "text")
    parts = [str(element.value) for kind in kinds for element in getattr(app, kind)]
    return "\n".join(parts)


def plotted(tab: Any) -> int:
    return len(tab.get("plotly_chart"))


@pytest.fixture(scope="module")
def full() -> AppTest:
    return opened(FakeServing())


def test_there_are_exactly_four_tabs(full: AppTest) -> None:
    assert [tab.label for tab in full.tabs] == TABS


@pytest.mark.parametrize(("tab", "charts"), [(0, 2), (1, 7), (2, 6), (3, 0)])
def test_every_tab_has_its_charts(full: AppTest, tab: int, charts: int) -> None:
    assert plotted(full.tabs[tab]) == charts
    assert not full.exception


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
    side = "\n".join(str(element.value) for element in [*full.sidebar.markdown, *full.sidebar.caption])
    for part in ("WIB", "Off-peak now", "World Air Quality Index Project", "Dinas Lingkungan Hidup DKI", "TomTom"):
        assert part in side, part


def test_the_page_is_read_once_more_than_the_side_needs() -> None:
    serving = FakeServing()
    app = opened(serving)
    first = serving.snapshots
    assert first == 2  # the side's names, once per session; the board, once per refresh
    app.run()
    assert serving.snapshots == first + 1


def test_choosing_a_location_narrows_every_tab() -> None:
    app = opened(FakeServing())
    app.sidebar.multiselect[0].set_value(["Krukut"]).run()
    assert not app.exception
    assert set(app.tabs[3].dataframe[0].value["location"]) == {"Krukut"}
    ranking = app.tabs[2].dataframe[0].value
    assert set(ranking["Location"]) == {"Whole city", "Krukut"}


def test_the_raw_table_is_paged_in_the_database_and_says_which_layer() -> None:
    app = opened(FakeServing())
    rows = app.tabs[3].dataframe[0].value
    assert len(rows) == 100
    assert set(rows["layer"]) <= {"speed", "batch"}
    assert rows["timestamp"].iloc[0] == "2026-03-12 14:40:00"
    app.tabs[3].selectbox[0].set_value(500).run()
    assert len(app.tabs[3].dataframe[0].value) == 500


def test_the_download_is_the_shown_rows_with_an_offset_on_every_time() -> None:
    from dashboard.context import Context, PageOptions
    from dashboard.tabs.raw_data import _csv
    from dashboard.texts import Texts
    from lambda_pipeline.domain.city_time import CityClock

    serving = FakeServing()
    context = Context(serving.city(), CityClock("Asia/Jakarta"), Texts(), PageOptions(), False, NOW)
    raw = serving.get_raw_data(date(2026, 3, 6), date(2026, 3, 13), limit=20)
    rows = list(csv.DictReader(io.StringIO(_csv(raw, context).decode())))
    assert [row["location"] for row in rows] == list(raw["location"])
    assert rows[0]["timestamp"] == "2026-03-12T14:40:00+07:00"
    assert list(rows[0]) == list(raw.columns)


def test_an_empty_database_says_what_to_do() -> None:
    app = opened(FakeServing.empty())
    assert "lambda-pipeline demo" in words(app)
    assert not app.tabs
    assert not app.exception


def test_a_database_that_is_away_is_said_in_plain_words_and_comes_back_by_itself() -> None:
    serving = FakeServing(is_away=True)
    app = opened(serving)
    assert "tries again by itself" in words(app)
    assert not app.exception
    serving.is_away = False
    assert [tab.label for tab in app.run().tabs] == TABS


def test_a_database_that_goes_away_leaves_what_was_read_last() -> None:
    serving = FakeServing()
    app = opened(serving)
    serving.is_away = True
    app.run()
    assert "What you see was read at 14:42:00 WIB" in words(app)
    assert [tab.label for tab in app.tabs] == TABS
    assert not app.exception
    serving.is_away = False
    assert "tries again" not in words(app.run())


def test_a_schema_that_does_not_fit_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    serving = FakeServing()

    def refuse() -> Any:
        raise SchemaError("the schema is too old.", "Run lambda-pipeline db upgrade.")

    monkeypatch.setattr(serving, "city", refuse)
    app = opened(serving)
    assert "upgrade" in words(app)
    assert not app.exception


def test_what_nobody_foresaw_is_not_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    serving = FakeServing()
    monkeypatch.setattr(serving, "get_statistics", lambda *_: 1 / 0)
    app = opened(serving)
    assert not app.exception
    assert "dashboard's log" in words(app)
    assert "ZeroDivision" not in words(app)


def test_stale_data_is_called_stale_in_words() -> None:
    app = opened(FakeServing.stale())
    assert "Stale" in words(app)
    assert "Nothing new since" in words(app)
    assert len(app.tabs) == 4


@pytest.mark.parametrize(("half", "said"), [("aqi", "AQICN half is missing"), ("traffic", "TomTom half is missing")])
def test_a_missing_half_is_said_and_the_other_is_shown(half: str, said: str) -> None:
    app = opened(FakeServing.without(half))
    assert said in words(app)
    assert [plotted(tab) for tab in app.tabs] == [2, 7, 6, 0]
    assert not app.exception


def test_days_without_observations_say_so() -> None:
    app = opened(FakeServing())
    app.sidebar.date_input[0].set_value((date(2025, 6, 1), date(2025, 6, 2))).run()
    assert "Widen the choice" in words(app)
    assert not app.exception


def test_a_name_from_outside_is_text_and_a_place_without_coordinates_is_listed() -> None:
    app = opened(FakeServing.hostile())
    assert not app.exception
    assert "<img" not in words(app).replace("\\<", "")
    assert HOSTILE_NAME in list(app.sidebar.multiselect[0].options)  # widgets show plain text
    assert list(app.tabs[0].dataframe[0].value["Location"]) == ["Nowhere"]


@pytest.mark.parametrize(("minutes", "state"), [(2, "live"), (16, "delayed"), (61, "stale")])
def test_the_status_follows_the_age_of_the_newest_observation(minutes: int, state: str) -> None:
    import pandas as pd

    assert reading.status(pd.Timestamp(NOW) - pd.Timedelta(minutes=minutes), NOW) == state
    assert reading.status(None, NOW) == "nothing"


def test_every_language_has_every_key() -> None:
    for language, table in LANGUAGES.items():
        assert set(table) == set(english.TEXTS), language


def test_a_new_location_appears_in_the_side_by_itself() -> None:
    serving = FakeServing()
    app = opened(serving)
    serving.places = {**serving.places, "New": (-6.3, 106.7)}
    serving.table = observations(places=serving.places)
    app.run()
    assert "New" in list(app.sidebar.multiselect[0].options)
