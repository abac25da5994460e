"""Heatmaps: the newest traffic and air of every place, side by side."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard import formats, maps
from dashboard.context import Context
from dashboard.figures import CONFIG
from dashboard.measures import AQI, TRAFFIC
from dashboard.reading import Choice, Reads


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the maps show."""

    conditions: pd.DataFrame  # HEATMAP, of the chosen locations


def read(view: Reads, choice: Choice, context: Context) -> Conditions:
    """The newest conditions."""
    conditions = view.get_combined_heatmap_data()
    return Conditions(conditions[conditions["location"].isin(choice.locations)] if choice.locations else conditions)


def show(data: Conditions, context: Context) -> None:
    """Two maps, and below them the places that no map can show."""
    t = context.texts
    st.caption(t("map.note"))
    for column, measure in zip(st.columns(2), (TRAFFIC, AQI), strict=True):
        figure = maps.conditions_map(data.conditions, measure, context.clock, t, context.map_options)
        column.plotly_chart(
            figure, key=f"map-{measure.key}", config=CONFIG | {"scrollZoom": False}, alt=t(f"map.alt.{measure.key}")
        )
    lost = data.conditions[data.conditions["location"].isin(maps.without_coordinates(data.conditions))]
    if len(lost):
        st.caption(t("map.without_coordinates"))
        columns = ["location", "traffic_level", "aqi_value", "aqi_category", "observed_at"]
        table = lost[columns].assign(
            observed_at=[
                "" if formats.is_missing(at) else formats.date_time(at, context.clock, t) for at in lost["observed_at"]
            ]
        )
        names = {column: t(f"column.{'timestamp' if column == 'observed_at' else column}") for column in columns}
        st.dataframe(table.rename(columns=names), hide_index=True)
