"""Peak Hours Analysis: when and where it is worst, against the configured peak windows."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard import charts, formats
from dashboard.context import Context
from dashboard.figures import CONFIG
from dashboard.measures import AQI, TRAFFIC
from dashboard.reading import Choice, Reads


@dataclass(frozen=True, slots=True)
class PeakHours:
    """What the charts rest on."""

    peaks: pd.DataFrame  # PEAK_HOURS


def read(view: Reads, choice: Choice, context: Context) -> PeakHours:
    """The hourly analysis of the chosen days and locations."""
    return PeakHours(view.get_peak_hours_analysis(choice.start, choice.end, choice.wanted))


def show(data: PeakHours, context: Context) -> None:
    """By hour, both together, by weekday, by location."""
    t, peaks = context.texts, data.peaks
    if not len(peaks):
        st.caption(t("state.no_rows"))
        return
    windows, zone = context.city.peak_windows, context.zone
    first, last = peaks["date"].min(), peaks["date"].max()
    st.caption(
        t(
            "peaks.note",
            count=t.number(peaks["total_records"].sum()),
            start=formats.day(first, t),
            end=formats.day(last, t),
        )
    )
    for column, measure in zip(st.columns(2), (TRAFFIC, AQI), strict=True):
        column.plotly_chart(charts.by_hour(peaks, measure, windows, zone, t), key=f"hour-{measure.key}", config=CONFIG)
    st.plotly_chart(charts.combined(peaks, windows, zone, t), key="combined", config=CONFIG)
    for column, measure in zip(st.columns(2), (TRAFFIC, AQI), strict=True):
        column.plotly_chart(charts.week(peaks, measure, zone, t), key=f"week-{measure.key}", config=CONFIG)
    for column, measure in zip(st.columns(2), (TRAFFIC, AQI), strict=True):
        column.plotly_chart(charts.peak_by_location(peaks, measure, t), key=f"places-{measure.key}", config=CONFIG)
