"""Statistics: the range in numbers, how values are distributed, where they are highest, how complete they are."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import aggregates
from dashboard import statistics_charts as charts
from dashboard.cards import card
from dashboard.context import Context
from dashboard.figures import CONFIG
from dashboard.measures import AQI, TRAFFIC
from dashboard.reading import Choice, Reads
from dashboard.texts import Texts


@dataclass(frozen=True, slots=True)
class Figures:
    """What the cards and charts rest on."""

    statistics: pd.DataFrame  # STATISTICS
    hourly: pd.DataFrame  # HOURLY


def read(view: Reads, choice: Choice, context: Context) -> Figures:
    """The figures of the chosen days and locations."""
    days = (choice.start, choice.end)
    return Figures(view.get_statistics(*days, choice.wanted), view.get_hourly(*days, choice.wanted))


def show(data: Figures, context: Context) -> None:
    """Cards, distributions, trend, ranking, completeness, and everything as a table."""
    t, statistics = context.texts, data.statistics
    whole = statistics[statistics["location"].isna()]
    if not len(whole) or not len(data.hourly):
        st.caption(t("state.no_rows"))
        return
    _cards(whole.iloc[0], aggregates.completeness(data.hourly), context)
    for column, measure in zip(st.columns(2), (TRAFFIC, AQI), strict=True):
        column.plotly_chart(charts.distribution(data.hourly, measure, t), key=f"share-{measure.key}", config=CONFIG)
    st.plotly_chart(charts.trend(data.hourly, context.clock, t), key="trend", config=CONFIG)
    for column, measure in zip(st.columns(2), (TRAFFIC, AQI), strict=True):
        column.plotly_chart(charts.ranking(statistics, measure, t), key=f"rank-{measure.key}", config=CONFIG)
    st.plotly_chart(charts.completeness(data.hourly, t), key="completeness", config=CONFIG)
    with st.expander(t("statistics.table"), icon=":material/table:"):
        st.dataframe(_table(statistics, t), hide_index=True)


def _cards(row: "pd.Series[Any]", places: pd.DataFrame, context: Context) -> None:
    t = context.texts
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
        received, expected = int(places["received"].sum()), int(places["expected"].sum())
        share = received / expected if expected else None
        of = t("statistics.of_expected", count=t.number(received), expected=t.number(expected))
        card(t("statistics.completeness"), t.percent(share), of if expected else t("statistics.not_expected"))


def _table(statistics: pd.DataFrame, t: Texts) -> pd.DataFrame:
    frame = statistics.assign(location=statistics["location"].fillna(t("statistics.city")))
    means = [column for column in frame.columns if "avg_" in column]
    return frame.assign(**{column: frame[column].round(2) for column in means}).rename(
        columns={column: t(f"column.{column}") for column in frame.columns}
    )
