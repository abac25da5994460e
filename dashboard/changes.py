"""The last closed hour beside the hour before and the same hour last week: a CITY_HOURLY frame in, figures out."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

Row = pd.Series  # of CITY_HOURLY


@dataclass(frozen=True, slots=True)
class LastHour:
    """Rows of CITY_HOURLY; None where nothing was observed in that hour."""

    row: "Row[Any]"
    before: "Row[Any] | None"
    week_ago: "Row[Any] | None"

    @property
    def start(self) -> datetime:
        """The instant at which the hour starts."""
        start: datetime = self.row["hour_start"].to_pydatetime()
        return start


def last_hour(hours: pd.DataFrame, now: datetime) -> LastHour | None:
    """The newest hour that is over and has observations; None without any.

    The hour before is the instant an hour earlier. Last week's is the same city hour of the city day seven days before,
    so that a change of clocks between them compares eight o'clock with eight o'clock.
    """
    is_closed = hours["hour_start"] + timedelta(hours=1) <= now
    closed = hours[is_closed & (hours["data_points_count"] > 0)]
    if not len(closed):
        return None
    row = closed.sort_values("hour_start").iloc[-1]
    before = closed[closed["hour_start"] == row["hour_start"] - timedelta(hours=1)]
    week_ago = closed[(closed["date"] == row["date"] - timedelta(days=7)) & (closed["hour"] == row["hour"])]
    return LastHour(row, _first(before), _first(week_ago))


def _first(rows: pd.DataFrame) -> "Row[Any] | None":
    return rows.iloc[0] if len(rows) else None
