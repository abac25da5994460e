"""What every chart has in common: margins, title, legend, axis titles with their unit."""

from typing import Any, Final

from dashboard import theme
from dashboard.measures import Measure
from dashboard.texts import Texts

HEIGHT: Final = 340  # pixels
ROW: Final = 30  # pixels per location
# no toolbar over the charts but on hover, and no logo; fitting to the width is Streamlit's
CONFIG: Final[dict[str, Any]] = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "toImage"],
}
SHOWN: Final = 20  # locations in one chart; the table has all of them


def layout(title: str, subtitle: str = "", height: int = HEIGHT) -> dict[str, Any]:
    """The part of a layout that all share."""
    heading: dict[str, Any] = {"text": title}
    if subtitle:
        heading["subtitle"] = {"text": subtitle, "font": {"color": theme.MUTED, "size": 12}}
    return {
        "title": heading,
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 52, "b": 8},
        "uirevision": "kept",
        "hoverlabel": {"align": "left"},
        "barcornerradius": 3,
    }


def of_total(shown: int, total: int, t: Texts) -> str:
    """Says so where only the first of many locations are drawn."""
    return t("peaks.shown", shown=shown, total=t.number(total)) if shown < total else ""


def legend_below() -> dict[str, Any]:
    """A legend under the axis title."""
    return {"orientation": "h", "yanchor": "top", "y": -0.24, "x": 0}


def unit(measure: Measure, t: Texts) -> str:
    """A measure's name with its unit, for an axis."""
    return f"{t(f'{measure.key}.short')} ({t(f'{measure.key}.unit')})"
