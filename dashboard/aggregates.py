"""From serving's hourly frames to what a chart shows: frames in, frames out.

Every average here is weighted by the observations behind it, and comes with their number. Missing measures are left
out, as everywhere: a group without any has no row.
"""

from collections.abc import Sequence

import pandas as pd

from dashboard.measures import Measure
from lambda_pipeline.domain.city_time import CityClock

HOURLY_UP_TO_DAYS = 10  # a longer trend is drawn by days


def weighted(frame: pd.DataFrame, by: Sequence[str], value: str, count: str) -> pd.DataFrame:
    """One row per group: its keys, `average` of `value` weighted by `count`, and `observations`, their sum."""
    known = frame[frame[value].notna() & (frame[count] > 0)]
    sums = known[list(by)].assign(total=known[value] * known[count], observations=known[count])
    grouped = sums.groupby(list(by), as_index=False, sort=True).sum()
    grouped["average"] = grouped["total"] / grouped["observations"]
    return grouped.drop(columns="total")


def by_hour(peaks: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """PEAK_HOURS by city hour 0 to 23: hour, average, observations."""
    return weighted(peaks, ["hour"], measure.hourly, measure.count)


def by_weekday_and_hour(peaks: pd.DataFrame, measure: Measure) -> tuple[pd.DataFrame, pd.DataFrame]:
    """PEAK_HOURS as two tables of 7 weekdays (0 is Monday) by 24 city hours: averages, observations."""
    cells = weighted(
        peaks.assign(weekday=peaks["date"].dt.day_of_week), ["weekday", "hour"], measure.hourly, measure.count
    )
    days, hours = range(7), range(24)
    averages, counts = (
        cells.pivot(index="weekday", columns="hour", values=value).reindex(index=days, columns=hours).astype("float64")
        for value in ("average", "observations")
    )
    return averages, counts


def peak_and_off_peak(peaks: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """PEAK_HOURS by location: location, peak, off_peak (averages), peak_n, off_peak_n; the highest peak first."""
    cells = weighted(peaks, ["location", "is_peak_hour"], measure.hourly, measure.count)
    sides = {}
    for name, is_peak in (("peak", True), ("off_peak", False)):
        part = cells[cells["is_peak_hour"] == is_peak].set_index("location")
        sides[name], sides[f"{name}_n"] = part["average"], part["observations"]
    wide = pd.DataFrame(sides).rename_axis("location").reset_index()
    return wide.sort_values(["peak", "off_peak", "location"], ascending=[False, False, True], ignore_index=True)


def trend(hourly: pd.DataFrame, measure: Measure, clock: CityClock, is_daily: bool) -> pd.DataFrame:
    """HOURLY of the whole city over time: at (city wall time, without a zone), label, average, observations."""
    if is_daily:
        frame = weighted(hourly, ["date"], measure.mean, measure.count).rename(columns={"date": "at"})
        frame["label"] = frame["at"].dt.strftime("%a %d %b %Y")
        return frame
    frame = weighted(hourly, ["hour_start"], measure.mean, measure.count)
    local = frame["hour_start"].dt.tz_convert(clock.zone)
    frame["at"] = local.dt.tz_localize(None)
    frame["label"] = local.dt.strftime("%a %d %b, %H:%M %Z")  # names the two hours apart when clocks go back
    return frame.drop(columns="hour_start")


def is_daily_trend(hourly: pd.DataFrame) -> bool:
    """Whether the range is so long that hours would only be noise."""
    return int(hourly["date"].nunique()) > HOURLY_UP_TO_DAYS


def completeness(hourly: pd.DataFrame) -> pd.DataFrame:
    """HOURLY by location: location, received, expected, share; the worst first.

    Only hours that say how many observations were expected, so that an hour that is still open does not flatter.
    """
    known = hourly[hourly["expected_count"].notna() & (hourly["expected_count"] > 0)]
    grouped = known.groupby("location", as_index=False)[["data_points_count", "expected_count"]].sum()
    result = grouped.rename(columns={"data_points_count": "received", "expected_count": "expected"})
    result["share"] = result["received"].astype("float64") / result["expected"].astype("float64")
    return result.sort_values(["share", "location"], ignore_index=True)
