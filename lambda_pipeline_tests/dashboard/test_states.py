"""Every state that the page must survive: each says what is going on and what to do, and none is a traceback."""

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from dashboard import refresh
from lambda_pipeline.errors import SchemaError
from lambda_pipeline_tests.dashboard.fake_serving import NOW, FakeServing
from lambda_pipeline_tests.dashboard.opened_page import KEYS, TABS, drawn, opened, panel, refreshed, words


def test_an_empty_database_says_what_to_do_and_fills_by_itself() -> None:
    serving, full = FakeServing.empty(), FakeServing()
    app = opened(serving)
    assert "lambda-pipeline demo" in words(app)
    assert not app.tabs
    assert not app.exception
    serving.table = full.table
    assert [tab.label for tab in refreshed(app, serving).tabs] == TABS


def test_a_database_that_is_away_is_said_in_plain_words_and_comes_back_by_itself() -> None:
    serving = FakeServing(is_away=True)
    app = opened(serving)
    assert "tries again by itself" in words(app)
    assert not app.exception
    serving.is_away = False
    assert [tab.label for tab in refreshed(app, serving).tabs] == TABS


def test_a_database_that_goes_away_leaves_what_was_read_last() -> None:
    serving = FakeServing()
    app = opened(serving)
    serving.is_away = True
    refreshed(app, serving)
    refreshed(app, serving, timedelta(minutes=2))
    assert "has not answered since 14:42 WIB" in words(app)
    assert "What you see was read at 14:42:00 WIB" in words(app)
    assert drawn(panel(app)) == 2
    assert not app.exception
    serving.is_away = False
    assert "has not answered" not in words(refreshed(app, serving))


def test_a_tab_that_is_opened_while_the_database_is_away_says_so_and_fills_by_itself() -> None:
    serving = FakeServing()
    app = opened(serving)
    serving.is_away = True
    app.session_state["tabs-en"] = "Statistics"
    refreshed(app, serving)
    assert "This tab was not read" in words(panel(app))
    serving.is_away = False
    refreshed(app, serving)
    assert drawn(panel(app))


def test_a_choice_while_the_database_is_away_keeps_the_page() -> None:
    serving = FakeServing()
    app = opened(serving)
    serving.is_away = True
    serving.now += timedelta(minutes=5)
    app.sidebar.multiselect[0].set_value(["Krukut"]).run()
    assert "What you see was read at" in words(app)
    assert "It is what was chosen then." in words(app)
    assert not app.exception


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
    monkeypatch.setattr(serving, "get_freshness", lambda: 1 / 0)
    app = opened(serving)
    assert not app.exception
    assert "dashboard's log" in words(app)
    assert "ZeroDivision" not in words(app)


@pytest.mark.parametrize("language", ["en", "id"])
def test_stale_data_is_called_stale_in_words(language: str) -> None:
    app = opened(FakeServing.stale(), lang=language)
    said = {"en": ("Stale", "Nothing new since"), "id": ("Usang", "Tidak ada yang baru sejak")}
    for part in said[language]:
        assert part in words(app)
    assert len(app.tabs) == 4


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("half", "said"), [("aqi", "AQICN half is missing"), ("traffic", "TomTom half is missing")])
def test_a_missing_half_is_said_and_the_other_is_shown(half: str, said: str, key: str) -> None:
    app = opened(FakeServing.without(half), tab=key)
    assert said in words(app)
    assert len(panel(app).children) > 0
    assert not app.exception


def test_a_half_that_went_missing_is_said_with_its_time() -> None:
    serving = FakeServing()
    is_lost = serving.table["timestamp"] >= pd.Timestamp(NOW) - pd.Timedelta(hours=4)
    serving.table["aqi_value"] = serving.table["aqi_value"].mask(is_lost)
    app = opened(serving)
    assert "No AQI value since Thu 12 Mar, 11:00 WIB" in words(app)


@pytest.mark.parametrize("key", KEYS)
def test_days_without_observations_say_so(key: str) -> None:
    app = opened(FakeServing(), tab=key, **{"from": "2025-06-01", "to": "2025-06-02"})
    assert "Widen the choice" in words(app)
    assert not app.exception


@pytest.mark.parametrize(("minutes", "state"), [(2, "live"), (16, "delayed"), (61, "stale")])
def test_the_status_follows_the_age_of_the_newest_observation(minutes: int, state: str) -> None:
    assert refresh.status(pd.Timestamp(NOW) - pd.Timedelta(minutes=minutes), NOW) == state
    assert refresh.status(None, NOW) == "nothing"
