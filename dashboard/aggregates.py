"""From serving's CITY_HOURLY frame to what a chart shows: frames in, frames out.

Every average here is weighted by the observations behind it, and comes with their number. Missing measures are left
out, as everywhere: a group without any has no row.
"""

from collections.abc import Sequence

import pandas as pd

from dashboard.measures import Measure
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.peak_hours import OBSERVED_PEAK_RULES, observed_peaks

HOURLY_UP_TO_DAYS = 10  # a longer trend is drawn by days
_RULES = {rule.measure: rule for rule in OBSERVED_PEAK_RULES}


def weighted(frame: pd.DataFrame, by: Sequence[str], value: str, count: str) -> pd.DataFrame:
    """One row per group: its keys, `average` of `value` weighted by `count`, and `observations`, their sum."""
    known = frame[frame[value].notna() & (frame[count] > 0)]
    sums = known[list(by)].assign(total=known[value] * known[count], observations=known[count])
    grouped = sums.groupby(list(by), as_index=False, sort=True).sum()
    grouped["average"] = grouped["total"] / grouped["observations"]
    return grouped.drop(columns="total")


def by_hour(hours: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """By city hour 0 to 23: hour, average, observations. The two hours of a clock put back are one hour of the day."""
    return weighted(hours, ["hour"], measure.mean, measure.count)


def by_kind_of_day(hours: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """By weekday or weekend and city hour: is_weekend, hour, average, observations."""
    return weighted(hours, ["is_weekend", "hour"], measure.mean, measure.count)


def by_weekday_and_hour(hours: pd.DataFrame, measure: Measure) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two tables of 7 weekdays (0 is Monday) by 24 city hours: averages, observations."""
    cells = weighted(
        hours.assign(weekday=hours["date"].dt.day_of_week), ["weekday", "hour"], measure.mean, measure.count
    )
    averages, counts = (
        cells.pivot(index="weekday", columns="hour", values=value)
        .reindex(index=range(7), columns=range(24))
        .astype("float64")
        for value in ("average", "observations")
    )
    return averages, counts


def city_peaks(hours: pd.DataFrame, measure: Measure, is_weekend: bool) -> frozenset[int]:
    """The hours that are observed peaks of the city's average weekday or weekend day, by the domain's rule."""
    part = hours[(hours["is_weekend"] == is_weekend) & (hours[measure.count] > 0)]
    profile = weighted(part, ["hour"], measure.mean, measure.count)
    days = part.groupby("hour")["date"].nunique()
    averages = zip(profile["hour"], profile["average"], strict=True)
    return observed_peaks({int(hour): (float(mean), int(days[hour])) for hour, mean in averages}, _RULES[measure.key])


def trend(hours: pd.DataFrame, measure: Measure, clock: CityClock, is_daily: bool) -> pd.DataFrame:
    """Over time: at (city wall time, without a zone), start (instant or day), average, observations.

    One row per step from the first to the last, also where nothing was observed, so that a line has a gap there.
    """
    key = "date" if is_daily else "hour_start"
    frame = weighted(hours, [key], measure.mean, measure.count).set_index(key)
    if len(frame):
        frame = frame.reindex(pd.date_range(frame.index[0], frame.index[-1], freq="D" if is_daily else "h"))
    frame = frame.rename_axis("start").reset_index()
    frame["at"] = frame["start"] if is_daily else frame["start"].dt.tz_convert(clock.zone).dt.tz_localize(None)
    return frame


def is_daily_trend(hours: pd.DataFrame) -> bool:
    """Whether the range is so long that hours would only be noise."""
    return int(hours["date"].nunique()) > HOURLY_UP_TO_DAYS


def city_completeness(hours: pd.DataFrame) -> tuple[int, int]:
    """Observations received and expected, in the hours of which it is known how many were expected."""
    known = hours[hours["expected_count"].notna() & (hours["expected_count"] > 0)]
    return int(known["data_points_count"].sum()), int(known["expected_count"].sum())


def completeness(statistics: pd.DataFrame) -> pd.DataFrame:
    """STATISTICS by location: location, received, expected, share (at most 1); the worst first.

    What was received counts all hours, what was expected only the published ones: hence at most 1.
    """
    places = statistics[statistics["location"].notna() & (statistics["expected_count"].fillna(0) > 0)]
    result = places[["location"]].assign(
        received=places["data_points_count"], expected=places["expected_count"].astype("int64")
    )
    result["share"] = (result["received"] / result["expected"]).clip(upper=1.0)
    return result.sort_values(["share", "location"], ignore_index=True)
