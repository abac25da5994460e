"""The maps' player: now, an hour of the past, and the replay from one to the other."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from dashboard.tabs import heatmaps
from lambda_pipeline_tests.dashboard.fake_serving import FakeServing
from lambda_pipeline_tests.dashboard.opened_page import drawn, opened, panel, refreshed, words


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
    assert panel(app).select_slider[0].value == 6
    assert "Thu 12 Mar, 09:00–10:00 WIB" in words(panel(app))  # six hours before the hour that has begun
    app.sidebar.selectbox(key="language").set_value("id").run()
    assert not app.exception
    assert panel(app).select_slider[0].value == 6
    assert "Kam 12 Mar, 09:00–10:00 WIB: rata-rata satu jam" in words(panel(app))


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
    heatmaps._play()
    shown = [heatmaps.chosen()]
    while state[heatmaps.PLAYING]:
        heatmaps._advance()
        shown.append(heatmaps.chosen())
    assert shown == list(range(24, -1, -1))
    heatmaps._advance()
    assert heatmaps.chosen() == 0


def test_the_replay_goes_on_from_the_hour_that_is_shown(state: dict[str, Any]) -> None:
    state[heatmaps.BACK] = 7
    heatmaps._play()
    assert heatmaps.chosen() == 7
    heatmaps._pause()
    heatmaps._advance()
    assert heatmaps.chosen() == 7


def test_a_refresh_that_crosses_a_step_does_not_turn_the_replay_back(state: dict[str, Any]) -> None:
    state |= {heatmaps.BACK: 7, heatmaps.PLAYING: True, heatmaps.SLIDER: 8}
    heatmaps._moved(heatmaps.SLIDER)
    assert heatmaps.chosen() == 7
    state[heatmaps.SLIDER] = 20  # a reader's move
    heatmaps._moved(heatmaps.SLIDER)
    assert heatmaps.chosen() == 20


def test_hours_are_instants_where_clocks_change() -> None:
    """Berlin, 25 October 2026, half past three: one, two and three hours before are 02:00, 02:00 and 01:00."""
    from dashboard.context import Context, PageOptions
    from dashboard.reading import Choice
    from dashboard.texts import Texts
    from lambda_pipeline.domain.city_time import CityClock

    asked: list[datetime] = []

    class View(FakeServing):
        def get_hour(self, hour_start: datetime) -> Any:
            asked.append(hour_start)
            return super().get_hour(hour_start)

    now = datetime(2026, 10, 25, 2, 30, tzinfo=UTC)
    view = View()
    context = Context(view.city(), CityClock("Europe/Berlin"), Texts(), PageOptions(), False, now)
    for back in (1, 2, 3):
        heatmaps.read(view, Choice(date(2026, 10, 25), date(2026, 10, 26)).with_own(back), context)
    assert [context.clock.local(at).strftime("%H %Z") for at in asked] == ["02 CET", "02 CEST", "01 CEST"]
