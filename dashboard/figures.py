"""What every chart has in common: margins, title, legend, axes with their unit, shaded peak windows."""

from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go

from dashboard import formats, theme
from dashboard.measures import TRAFFIC, Measure
from dashboard.texts import Texts
from lambda_pipeline.domain.peak_hours import PeakWindow

HEIGHT: Final = 360  # pixels
ROW: Final = 30  # pixels per location
# no toolbar over the charts but on hover, and no logo; fitting to the width is Streamlit's
CONFIG: Final[dict[str, Any]] = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "toImage"],
}
SHOWN: Final = 20  # locations in one chart; the table has all of them
OUTLINED: Final = {"color": theme.OUTLINE, "width": 1}


def layout(t: Texts, title: str, subtitle: str = "", height: int = HEIGHT) -> dict[str, Any]:
    """The part of a layout that all share. A subtitle may have several lines."""
    heading: dict[str, Any] = {"text": title, "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 8}}
    lines = subtitle.count("<br>") + 1 if subtitle else 0
    if subtitle:
        heading["subtitle"] = {"text": subtitle, "font": {"color": theme.MUTED, "size": 12}}
    return {
        "title": heading,
        "height": height + 16 * lines,
        "margin": {"l": 8, "r": 8, "t": 44 + 17 * lines, "b": 8},
        "uirevision": "kept",
        "hoverlabel": {"align": "left"},
        "barcornerradius": 3,
        "separators": t.separators,
    }


def rows_height(rows: int) -> int:
    """Height of a chart with one row per location."""
    return 120 + ROW * max(rows, 3)


def legend_below() -> dict[str, Any]:
    """A legend under the axis title."""
    return {"orientation": "h", "yanchor": "top", "y": -0.24, "x": 0}


def legend_above() -> dict[str, Any]:
    """A legend between title and chart, for charts whose height is that of their rows."""
    return {"orientation": "h", "yanchor": "bottom", "y": 1, "x": 0}


def unit(measure: Measure, t: Texts) -> str:
    """A measure's name with its unit, for an axis."""
    return f"{t(f'{measure.key}.short')} ({t(f'{measure.key}.unit')})"


def hour_name(hour: Any) -> str:
    """A city hour as "07:00–08:00"."""
    return f"{int(hour):02d}:00–{(int(hour) + 1):02d}:00"


def hour_axis(zone: str, t: Texts) -> dict[str, Any]:
    """The hours of the day; hour h reaches from h - 0.5 to h + 0.5."""
    hours = list(range(0, 24, 3))
    return {
        "title": {"text": t("peaks.hour", zone=formats.hover(zone))},
        "range": [-0.5, 23.5],
        "tickvals": hours,
        "ticktext": [f"{hour:02d}" for hour in hours],
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
    }


def value_axis(measure: Measure, t: Texts, values: Sequence[float]) -> dict[str, Any]:
    """An axis from 0, so that the lengths of bars compare."""
    axis: dict[str, Any] = {"title": {"text": unit(measure, t)}, "gridcolor": theme.GRID, "fixedrange": True}
    if measure is TRAFFIC:
        return {**axis, "range": [0, 5.2], "dtick": 1}
    return {**axis, "range": [0, 1.12 * max(values) if len(values) else 100]}


def shade(figure: go.Figure, windows: Sequence[PeakWindow], t: Texts) -> None:
    """The configured peak windows behind the traces, with their name."""
    for window in windows:
        figure.add_vrect(
            x0=window.start_hour - 0.5,
            x1=window.end_hour - 0.5,
            fillcolor=theme.PEAK_SHADE,
            line_width=0,
            layer="below",
            annotation={"text": t("peaks.shade"), "font": {"color": theme.MUTED, "size": 11}},
            annotation_position="top left",
        )
