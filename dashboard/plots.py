"""Charts onto the page: alone, or traffic and air side by side."""

from collections.abc import Callable

import plotly.graph_objects as go
import streamlit as st

from dashboard.figures import CONFIG
from dashboard.measures import AQI, TRAFFIC, Measure


def plot(figure: go.Figure, key: str) -> None:
    """A chart in the whole width; those who cannot see it hear its title and what stands under it."""
    title = figure.layout.title
    said = ". ".join(text for text in (title.text, title.subtitle.text) if text).replace("<br>", " ")
    st.plotly_chart(figure, key=key, config=CONFIG, alt=said)


def pair(key: str, figure_of: Callable[[Measure], go.Figure]) -> None:
    """Traffic on the left, air on the right; one above the other where the page is narrow."""
    for column, measure in zip(st.columns(2), (TRAFFIC, AQI), strict=True):
        with column:
            plot(figure_of(measure), f"{key}-{measure.key}")
