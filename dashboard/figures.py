"""What every chart has in common: margins, title, legend, axes with their unit, shaded peak windows."""

import html
import textwrap
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
LINE: Final = 60  # letters of a subtitle
NAME: Final = 18  # letters of a location's name beside its row
LEGEND: Final = 64  # pixels of a legend at the foot, under the axis' title
OUTLINED: Final = {"color": theme.OUTLINE, "width": 1}


def layout(t: Texts, title: str, subtitle: str = "", height: int = HEIGHT) -> dict[str, Any]:
    """The part of a layout that all share. A subtitle is broken into lines that a phone has room for."""
    heading: dict[str, Any] = {"text": title, "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": 8}}
    lines = textwrap.wrap(subtitle, LINE)
    if lines:
        heading["subtitle"] = {"text": "<br>".join(lines), "font": {"size": 12, "weight": 400}}
    return {
        "title": heading,
        "height": height + 16 * len(lines),
        "margin": {"l": 8, "r": 8, "t": 44 + 17 * len(lines), "b": 8},
        "uirevision": "kept",
        "hoverlabel": {"align": "left"},
        "barcornerradius": 3,
        "separators": t.separators,
    }


def rows_height(rows: int) -> int:
    """Height of a chart with one row per location."""
    return 120 + ROW * max(rows, 3)


def legend_below(figure: go.Figure) -> go.Figure:
    """The figure with a legend at its foot, whatever its height; two entries stand one above the other on a phone."""
    margin = figure.layout.margin
    return figure.update_layout(
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0},
        margin={"b": margin.b + LEGEND},
        height=figure.layout.height + LEGEND // 2,
    )


def places_axis(names: Sequence[str]) -> dict[str, Any]:
    """An axis with a row per location, the first on top; `names` are escaped. Long ones take two lines."""
    lines = [textwrap.wrap(html.unescape(name), NAME) for name in names]
    written = [line[:2] if len(line) <= 2 else [line[0], f"{line[1][: NAME - 1]}…"] for line in lines]
    return {
        "type": "category",  # a location may be called "12"
        "tickvals": list(names),
        "ticktext": ["<br>".join(formats.hover(part) for part in line) for line in written],
        "autorange": "reversed",
        "automargin": True,
        "gridcolor": theme.GRID,
        "fixedrange": True,
    }


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
            annotation={"text": t("peaks.shade"), "font": {"size": 11}},
            annotation_position="top left",
        )
