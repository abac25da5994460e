"""Statistics: the last hour and the range in numbers, how values are distributed, where they are highest, how
complete they are."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import aggregates, choosing, formats, plots
from dashboard import statistics_charts as charts
from dashboard.cards import Reading, card, change_card
from dashboard.changes import LastHour, last_hour
from dashboard.context import Context
from dashboard.measures import AQI, TRAFFIC
from dashboard.reading import Choice, Reads
from dashboard.texts import Texts

DAYS_BACK = 8  # of the last hour's comparisons: a week, and the day before today
SIDE = "ranking"  # in the session
HIGHEST, LOWEST = "highest", "lowest"


@dataclass(frozen=True, slots=True)
class Figures:
    """What the cards and charts rest on."""

    statistics: pd.DataFrame  # STATISTICS
    hours: pd.DataFrame  # CITY_HOURLY
    shares: pd.DataFrame  # DISTRIBUTION
    last: LastHour | None  # whatever range was chosen


def read(view: Reads, choice: Choice, context: Context) -> Figures:
    """The figures of the chosen days and locations, and the last closed hour of these locations."""
    days, today = (choice.start, choice.end), context.clock.city_date(context.now)
    recent = view.get_city_hourly(today - timedelta(days=DAYS_BACK), today + timedelta(days=1), choice.wanted)
    return Figures(
        view.get_statistics(*days, choice.wanted),
        view.get_city_hourly(*days, choice.wanted),
        view.get_distribution(*days, choice.wanted),
        last_hour(recent, context.now),
    )


def show(data: Figures, context: Context) -> None:
    """Cards, distributions, trend, ranking, completeness, and everything as a table."""
    t, statistics = context.texts, data.statistics
    if data.last is not None:
        _last_hour(data.last, context)
    whole = statistics[statistics["location"].isna()]
    if not len(whole) or not len(data.hours):
        st.caption(t("state.no_rows"))
        return
    _range(whole.iloc[0], data.hours, context)
    plots.pair("share", lambda measure: charts.distribution(data.shares, measure, t))
    plots.plot(charts.trend(data.hours, context.clock, t), "trend")
    st.session_state.setdefault(SIDE, HIGHEST)
    side = st.segmented_control(
        t("statistics.side"), [HIGHEST, LOWEST], format_func=lambda key: t(f"statistics.side.{key}"), required=True,
        **choosing.bound(SIDE, t),
    )  # fmt: skip
    plots.pair("rank", lambda measure: charts.ranking(statistics, measure, side == LOWEST, t))
    plots.plot(charts.completeness(statistics, t), "completeness")
    with st.expander(t("statistics.table"), icon=":material/table:"):
        st.dataframe(_table(statistics, context), hide_index=True)


def _last_hour(last: LastHour, context: Context) -> None:
    t, row, units = context.texts, last.row, context.units
    st.subheader(t("statistics.last", hour=formats.hour(last.start, context.clock, t)), anchor=False)

    def changes(column: str, decimals: int, higher_is: str, factor: float = 1.0) -> list[str]:
        reading = Reading(row[column] * factor, decimals, higher_is)
        past = (("hour", last.before), ("week", last.week_ago))
        return [reading.change(None if then is None else then[column] * factor, key, t) for key, then in past]

    with st.container(horizontal=True, gap="small", key="changes"):
        for measure in (AQI, TRAFFIC):
            value, count = t.number(row[measure.mean], measure.decimals), t.number(row[measure.count])
            label = measure.band_of(row[measure.mean], t).label
            note = f"{label}; {t('hover.observations', count=count)}"
            change_card(t(measure.key), value, changes(measure.mean, measure.decimals, "worse"), note)
        speed = units.written(row["avg_speed"], t, 1)
        change_card(t("statistics.speed"), speed, changes("avg_speed", 1, "better", units.speed(1.0)))
        count = t.number(row["data_points_count"])
        change_card(t("statistics.observations"), count, changes("data_points_count", 0, "more"))


def _range(row: "pd.Series[Any]", hours: pd.DataFrame, context: Context) -> None:
    t = context.texts
    start, end = (formats.day(day, t) for day in (hours["date"].min(), hours["date"].max()))
    st.subheader(t("statistics.range.title", start=start, end=end), anchor=False)
    aqi, level = AQI.band_of(row["avg_aqi"], t), TRAFFIC.band_of(row["avg_traffic"], t)
    with st.container(horizontal=True, gap="small", key="cards"):
        for measure, band in ((AQI, aqi), (TRAFFIC, level)):
            peaks = t(
                "statistics.peaks",
                peak=t.number(row[f"peak_avg_{measure.key}"], measure.decimals),
                off_peak=t.number(row[f"off_peak_avg_{measure.key}"], measure.decimals),
            )
            low, high = t.number(row[f"min_{measure.key}"]), t.number(row[f"max_{measure.key}"])
            note = f"{band.label}; {t('statistics.range', low=low, high=high)}"
            label, value = t(f"statistics.avg_{measure.key}"), t.number(row[measure.mean], measure.decimals)
            card(label, value, peaks, note)
        card(t("statistics.avg_speed"), context.units.written(row["avg_speed"], t, 1), level.label)
        halves = t("statistics.halves", aqi=t.number(row["aqi_count"]), traffic=t.number(row["traffic_count"]))
        card(t("statistics.observations"), t.number(row["data_points_count"]), halves)
        received, expected = aggregates.city_completeness(hours)
        share = received / expected if expected else None
        of = t("statistics.of_expected", count=t.number(received), expected=t.number(expected))
        card(t("statistics.completeness"), t.percent(share), of if expected else t("statistics.not_expected"))


def _table(statistics: pd.DataFrame, context: Context) -> pd.DataFrame:
    t = context.texts
    frame = statistics.assign(
        location=statistics["location"].fillna(t("statistics.city")),
        avg_speed=context.units.speed(statistics["avg_speed"]),
        aqi_category=_translated(statistics["aqi_category"], t),
    )
    means = [column for column in frame.columns if "avg_" in column]
    titles = {column: t(f"column.{column}") for column in frame.columns}
    titles["avg_speed"] = t("column.avg_speed", unit=context.units.name(t))
    return frame.assign(**{column: frame[column].round(2) for column in means}).rename(columns=titles)


def _translated(categories: "pd.Series[str]", t: Texts) -> "pd.Series[str]":
    return categories.map({name: t(f"category.{name}") for name in categories.dropna().unique()})
