"""The last closed hour against the hour before and the week before: frames in, words out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dashboard.cards import Reading
from dashboard.changes import last_hour
from dashboard.texts import Texts
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.serving import frames
from lambda_pipeline_tests.dashboard.fake_observations import typed

T = Texts()


def city_hours(start: datetime, count: int, timezone: str = "Asia/Jakarta") -> pd.DataFrame:
    """CITY_HOURLY of consecutive hours, whose AQI is their number."""
    starts = pd.date_range(start, periods=count, freq="h")
    local = starts.tz_convert(CityClock(timezone).zone)
    return typed(
        pd.DataFrame(
            {
                "hour_start": starts,
                "date": local.tz_localize(None).normalize(),
                "hour": local.hour,
                "avg_aqi": np.arange(count),
                **dict.fromkeys(("data_points_count", "aqi_count", "traffic_count"), 6),
                **dict.fromkeys(("is_weekend", "is_peak_hour"), False),
            }
        ),
        frames.CITY_HOURLY,
    )


def test_the_last_closed_hour_is_compared_with_the_hour_and_the_week_before() -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    hours = city_hours(start, 24 * 8)
    now = start + timedelta(hours=24 * 7 + 10, minutes=30)
    last = last_hour(hours, now)
    assert last is not None
    assert last.start == start + timedelta(hours=24 * 7 + 9)
    assert last.row["avg_aqi"] == 24 * 7 + 9
    assert last.before is not None
    assert last.before["avg_aqi"] == 24 * 7 + 8
    assert last.week_ago is not None
    assert last.week_ago["avg_aqi"] == 9


def test_an_hour_closes_when_it_is_over() -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    hours = city_hours(start, 5)
    last = last_hour(hours, start + timedelta(hours=3))
    assert last is not None
    assert last.start == start + timedelta(hours=2)


def test_what_was_not_observed_is_not_replaced_by_its_neighbour() -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    hours = city_hours(start, 24 * 8).drop(index=[24 * 7 + 8, 9])
    last = last_hour(hours, start + timedelta(hours=24 * 7 + 10))
    assert last is not None
    assert last.before is None
    assert last.week_ago is None
    assert last_hour(hours.iloc[:0], start) is None


def test_the_same_hour_last_week_is_the_same_city_hour_when_clocks_changed_between() -> None:
    """Berlin put its clocks back on 25 October 2026: a week before an 8 o'clock is 169 hours before."""
    start = datetime(2026, 10, 20, tzinfo=UTC)
    hours = city_hours(start, 24 * 9, "Europe/Berlin")
    last = last_hour(hours, datetime(2026, 10, 27, 8, 10, tzinfo=UTC))
    assert last is not None
    assert (last.row["hour"], last.start) == (8, datetime(2026, 10, 27, 7, tzinfo=UTC))
    assert last.week_ago is not None
    assert last.week_ago["hour_start"] == pd.Timestamp("2026-10-20T06:00Z")


@pytest.mark.parametrize(
    ("reading", "earlier", "said"),
    [
        (Reading(87.4, 0, "worse"), 82.0, ":red[▲ **5** worse] than the hour before"),
        (Reading(1.45, 2, "worse"), 1.58, ":green[▼ **0.13** better] than the hour before"),
        (Reading(37.9, 1, "better"), 37.2, ":green[▲ **0.7** better] than the hour before"),
        (Reading(30.0, 1, "better"), 37.2, ":red[▼ **7.2** worse] than the hour before"),
        (Reading(1058, 0, "more"), 1, ":gray[▲ **1,057** more] than the hour before"),
        (Reading(1, 0, "more"), 2, ":gray[▼ **1** fewer] than the hour before"),
        (Reading(87.0, 0, "worse"), 87.0001, ":gray[= **0** unchanged] than the hour before"),
        (Reading(None, 0, "worse"), 87.0, "No comparison with the hour before"),
        (Reading(87.0, 0, "worse"), float("nan"), "No comparison with the hour before"),
    ],
)
def test_a_change_has_an_arrow_an_amount_and_a_word_and_the_words_colour(
    reading: Reading, earlier: Any, said: str
) -> None:
    assert reading.change(earlier, "hour", T) == said
