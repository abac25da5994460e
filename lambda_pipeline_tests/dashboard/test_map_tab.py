"""The maps' player: now, an hour of the past, and the replay from one to the other."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboard.tabs import heatmaps
from lambda_pipeline_tests.dashboard.fake_observations import observations
from lambda_pipeline_tests.dashboard.fake_serving import FakeCity, FakeServing
from lambda_pipeline_tests.dashboard.opened_page import drawn, opened, panel, refreshed, words

HOUR = timedelta(hours=1)
FIRST = datetime(2026, 3, 12, 7, tzinfo=UTC)  # the hour that is open at the fake's present


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The session's state."""
    kept: dict[str, Any] = {}
    monkeypatch.setattr(heatmaps.st, "session_state", kept)
    return kept


def test_now_is_what_the_maps_start_with_and_no_hour_is_read() -> None:
    serving = FakeServing()
    app = opened(serving)
    assert "hour" not in serving.asked
    assert "Newest value of each place" in words(panel(app))
    slider = panel(app).select_slider[0]
    assert slider.value == 0
    assert slider.options[0] == "Wed 11 Mar, 14:00–15:00 WIB"
    assert slider.options[-2:] == ["Thu 12 Mar, 13:00–14:00 WIB", "now"]
    assert len(slider.options) == 25


def test_an_hour_is_read_when_it_is_asked_for_and_said_to_be_an_average() -> None:
    serving = FakeServing()
    app = opened(serving)
    panel(app).select_slider[0].set_value(6).run()
    assert not app.exception
    assert serving.asked.count("hour") == 1
    assert "Thu 12 Mar, 08:00–09:00 WIB: averages of the hour" in words(panel(app))
    assert drawn(panel(app)) == 2
    panel(app).select_slider[0].set_value(0).run()
    assert "Newest value of each place" in words(panel(app))


def test_an_hour_without_observations_says_so() -> None:
    serving = FakeServing()
    serving.table = serving.table[serving.table["city_date"] < "2026-03-12"]
    app = opened(serving)
    panel(app).select_slider[0].set_value(2).run()
    assert "nothing was observed in this hour" in words(panel(app))
    assert not app.exception


def test_an_hour_shows_the_chosen_locations_only() -> None:
    app = opened(FakeServing(), location="Krukut")
    panel(app).select_slider[0].set_value(6).run()
    assert "places: 1." in words(panel(app))


def test_the_hour_is_kept_when_the_next_one_begins_and_when_the_language_changes() -> None:
    serving = FakeServing()
    app = opened(serving)
    panel(app).select_slider[0].set_value(6).run()
    refreshed(app, serving, timedelta(minutes=30))
    assert panel(app).select_slider[0].value == 7
    assert "Thu 12 Mar, 08:00–09:00 WIB" in words(panel(app))
    app.sidebar.selectbox(key="language").set_value("id").run()
    assert not app.exception
    assert panel(app).select_slider[0].value == 7
    assert "Kam 12 Mar, 08:00–09:00 WIB: rata-rata satu jam" in words(panel(app))


def test_an_hour_that_is_more_than_a_day_old_gives_way_to_the_oldest() -> None:
    serving = FakeServing()
    app = opened(serving)
    panel(app).select_slider[0].set_value(24).run()
    refreshed(app, serving, timedelta(hours=2))
    refreshed(app, serving)
    assert panel(app).select_slider[0].value == 24
    assert "Wed 11 Mar, 16:00–17:00 WIB" in words(panel(app))


def test_the_replay_starts_a_day_ago_and_pauses_where_it_is() -> None:
    serving = FakeServing()
    app = opened(serving)
    panel(app).button[0].click().run()
    assert panel(app).button[0].label == "Pause"
    assert "Wed 11 Mar, 14:00–15:00 WIB" in words(panel(app))
    refreshed(app, serving)
    panel(app).button[0].click().run()
    assert panel(app).button[0].label == "Replay"
    assert "Wed 11 Mar, 14:00–15:00 WIB" in words(panel(app))


def test_every_step_of_the_replay_is_one_hour_until_now(state: dict[str, Any]) -> None:
    heatmaps._play(FIRST)
    shown = [heatmaps.chosen()]
    while state[heatmaps.PLAYING]:
        heatmaps._advance(FIRST)
        shown.append(heatmaps.chosen())
    assert shown == [*(FIRST - back * HOUR for back in range(24, 0, -1)), None]
    heatmaps._advance(FIRST)
    assert heatmaps.chosen() is None


def test_the_replay_goes_on_from_the_hour_that_is_shown(state: dict[str, Any]) -> None:
    state[heatmaps.SHOWN] = FIRST - 7 * HOUR
    heatmaps._play(FIRST)
    assert heatmaps.chosen() == FIRST - 7 * HOUR
    heatmaps._pause()
    heatmaps._advance(FIRST)
    assert heatmaps.chosen() == FIRST - 7 * HOUR


def test_a_refresh_that_crosses_a_step_does_not_turn_the_replay_back(state: dict[str, Any]) -> None:
    state |= {heatmaps.SHOWN: FIRST - 7 * HOUR, heatmaps.PLAYING: True, "slider": 8}
    heatmaps._moved("slider", FIRST)
    assert heatmaps.chosen() == FIRST - 7 * HOUR
    state["slider"] = 20  # a reader's move
    heatmaps._moved("slider", FIRST)
    assert heatmaps.chosen() == FIRST - 20 * HOUR
    state["slider"] = 0
    heatmaps._moved("slider", FIRST)
    assert heatmaps.chosen() is None


def test_hours_are_instants_where_clocks_change() -> None:
    """Berlin, 25 October 2026, half past three: the hour from two comes twice."""
    now = datetime(2026, 10, 25, 2, 30, tzinfo=UTC)
    serving = FakeServing(observations(now), now=now, info=FakeCity("Berlin", "Europe/Berlin"))
    options = list(panel(opened(serving, lang="en")).select_slider[0].options)
    assert options[-4:] == [
        "Sun 25 Oct, 01:00–02:00 CEST",
        "Sun 25 Oct, 02:00 CEST–02:00 CET",
        "Sun 25 Oct, 02:00–03:00 CET",
        "now",
    ]
