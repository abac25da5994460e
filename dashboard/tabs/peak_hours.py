"""Peak Hours Analysis: when and where it is worst, against the configured peak windows, and how the air follows."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard import aggregates, charts, choosing, figures, formats, peak_charts, plots
from dashboard.context import Context
from dashboard.correlation import lagged_correlation
from dashboard.measures import AQI, TRAFFIC, Measure
from dashboard.peak_charts import PeakRow
from dashboard.reading import Choice, Reads
from lambda_pipeline.domain.peak_hours import OBSERVED_PEAK_RULES, is_peak_hour

KIND = "kind_of_day"  # in the session
WEEKDAY, WEEKEND = "weekday", "weekend"


@dataclass(frozen=True, slots=True)
class PeakHours:
    """What the charts rest on."""

    hours: pd.DataFrame  # CITY_HOURLY
    statistics: pd.DataFrame  # STATISTICS
    observed: pd.DataFrame  # OBSERVED_PEAKS, of at most figures.SHOWN locations
    locations: int  # how many were observed


def read(view: Reads, choice: Choice, context: Context) -> PeakHours:
    """The chosen days and locations; the observed peaks only of those locations whose peak hours are the worst."""
    days = (choice.start, choice.end)
    statistics = view.get_statistics(*days, choice.wanted)
    places = statistics[statistics["location"].notna()]
    worst = places.sort_values(["peak_avg_traffic", "location"], ascending=[False, True]).head(figures.SHOWN)
    return PeakHours(
        view.get_city_hourly(*days, choice.wanted),
        statistics,
        view.get_observed_peaks(*days, tuple(sorted(worst["location"]))),
        len(places),
    )


def show(data: PeakHours, context: Context) -> None:
    """By hour, both together, weekday and weekend, by weekday, observed peaks, by location, correlation."""
    t, hours, zone, windows = context.texts, data.hours, context.zone, context.city.peak_windows
    if not len(hours):
        st.caption(t("state.no_rows"))
        return
    start, end = (formats.day(day, t) for day in (hours["date"].min(), hours["date"].max()))
    st.caption(t("peaks.note", count=t.number(hours["data_points_count"].sum()), start=start, end=end))
    plots.pair("hour", lambda measure: charts.by_hour(hours, measure, windows, zone, t))
    plots.plot(charts.combined(hours, windows, zone, t), "combined")
    plots.pair("kinds", lambda measure: charts.weekday_and_weekend(hours, measure, windows, zone, t))
    plots.pair("week", lambda measure: charts.week(hours, measure, zone, t))
    _observed(data, context)
    plots.pair("places", lambda measure: peak_charts.peak_by_location(data.statistics, measure, t))
    plots.plot(peak_charts.correlation(lagged_correlation(hours), t), "correlation")
    st.caption(t("correlation.note"))


def _observed(data: PeakHours, context: Context) -> None:
    """The matrix of observed peaks, of the average weekday or weekend day, the whole city first."""
    t, hours, windows = context.texts, data.hours, context.city.peak_windows
    st.session_state.setdefault(KIND, WEEKDAY)
    kind = st.segmented_control(
        t("peaks.kind"), [WEEKDAY, WEEKEND], format_func=lambda key: t(f"peaks.{key}"), required=True,
        **choosing.bound(KIND, t),
    )  # fmt: skip
    is_weekend = kind == WEEKEND
    city = {measure.key: aggregates.city_peaks(hours, measure, is_weekend) for measure in (TRAFFIC, AQI)}
    of_kind = hours[hours["is_weekend"] == is_weekend]
    whole = PeakRow(t("statistics.city"), city["traffic"], city["aqi"], frozenset(of_kind["hour"]))
    rows = [whole, *peak_charts.peak_rows(data.observed, is_weekend)]
    for measure in (TRAFFIC, AQI):
        st.caption(_in_words(city[measure.key], measure, context))
    plots.plot(peak_charts.observed_peaks(rows, windows, context.zone, t), "observed")
    rules = {rule.measure: rule for rule in OBSERVED_PEAK_RULES}
    note = t(
        "peaks.observed.rule",
        days=t.number(of_kind["date"].nunique()),
        least=rules["traffic"].least_days,
        share=f"{t.number(100 * rules['traffic'].share)} %",
        level=t.number(rules["traffic"].least_range, 1),
        aqi=t.number(rules["aqi"].least_range),
    )
    shown = len(rows) - 1
    if shown < data.locations:
        note += " " + t("peaks.observed.shown", shown=t.number(shown), total=t.number(data.locations))
    st.caption(note)


def _in_words(observed: frozenset[int], measure: Measure, context: Context) -> str:
    """The city's observed peaks of a measure beside the configured ones, and how far they agree."""
    t, windows = context.texts, context.city.peak_windows
    configured = {hour for hour in range(24) if is_peak_hour(hour, windows)}
    if not observed:
        return t("peaks.observed.none", measure=t(f"{measure.key}.short"))
    return t(
        "peaks.observed.words",
        measure=t(f"{measure.key}.short"),
        observed=_spans(observed),
        configured=_spans(configured) or t("peaks.state.none"),
        agreeing=len(observed & configured),
        total=len(observed),
    )


def _spans(hours: Iterable[int]) -> str:
    """City hours as spans: {7, 8, 17} is "07:00–09:00, 17:00–18:00"."""
    spans: list[tuple[int, int]] = []
    for hour in sorted(hours):
        if spans and spans[-1][1] == hour:
            spans[-1] = (spans[-1][0], hour + 1)
        else:
            spans.append((hour, hour + 1))
    return ", ".join(f"{start:02d}:00–{end:02d}:00" for start, end in spans)
