"""Peak Hours Analysis: when and where it is worst, against the configured peak windows."""

import streamlit as st

from dashboard import charts
from dashboard.context import Context
from dashboard.figures import CONFIG
from dashboard.measures import AQI, TRAFFIC
from dashboard.reading import PageData


def show(data: PageData, context: Context) -> None:
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
            start=f"{first:%d %b %Y}",
            end=f"{last:%d %b %Y}",
        )
    )
    for column, measure in zip(st.columns(2), (TRAFFIC, AQI), strict=True):
        column.plotly_chart(charts.by_hour(peaks, measure, windows, zone, t), key=f"hour-{measure.key}", config=CONFIG)
    st.plotly_chart(charts.combined(peaks, windows, zone, t), key="combined", config=CONFIG)
    for column, measure in zip(st.columns(2), (TRAFFIC, AQI), strict=True):
        column.plotly_chart(charts.week(peaks, measure, zone, t), key=f"week-{measure.key}", config=CONFIG)
    for column, measure in zip(st.columns(2), (TRAFFIC, AQI), strict=True):
        column.plotly_chart(charts.peak_by_location(peaks, measure, t), key=f"places-{measure.key}", config=CONFIG)
