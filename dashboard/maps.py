"""Maps of traffic and air: a HEATMAP frame of now or a HOUR frame of the past in, a Plotly figure out.

Per band of the measure there is one glow in the band's own colour (so that glows never add up to another band's
colour) and one trace of points with the value written on them, which is also the legend entry. Missing values are grey.
Many places are small points, with their numbers above them where they do not touch; thousands have their numbers once
one has zoomed in.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import labels, theme
from dashboard.hover_cards import WHOLE_UP_TO, Cards, CardWriter
from dashboard.map_ground import LEGEND_SHARE, MapOptions, bounds, ground
from dashboard.measures import Band, Measure, unknown
from dashboard.texts import Texts

HEIGHT: Final = 560  # pixels
MARKER: Final = 27
SMALL_MARKER: Final = 8
NAME_DISTANCE: Final = 90, 200  # of one line and of two: Plotly moves a label by this / 100 em and a bit, off the point
MARGINS: Final = 0.07, 0.13  # of the extent, north-south and east-west, so that points and names at the edge are whole
GLOW: Final = 62, 16  # pixels around a point, of few places and of very many
NAMES_UP_TO: Final = 60  # places; beyond that, names would only cover each other
NUMBERS_UP_TO: Final = 150  # places with their number on the point; beyond that, points would only cover each other
NUMBER_SPACING: Final = 30  # pixels from one place to the next, from which on numbers can be read

CardsOf = Callable[[pd.DataFrame, Band], Cards]


def without_coordinates(conditions: pd.DataFrame) -> list[str]:
    """Names of the places of a frame that no map can show."""
    is_lost = conditions["latitude"].isna() | conditions["longitude"].isna()
    return [str(name) for name in conditions.loc[is_lost, "location"]]


def numbers_from(frame: pd.DataFrame) -> float:
    """How many zoom levels nearer than the whole the numbers of a frame's places are drawn; 0: always."""
    spacing = HEIGHT / math.sqrt(max(len(frame), 1))  # as if they were spread evenly
    return max(0.0, round(math.log2(NUMBER_SPACING / spacing), 2))


def conditions_map(conditions: pd.DataFrame, cards: CardWriter, options: MapOptions) -> go.Figure:
    """Map of the newest values of `cards.measure`, from a HEATMAP frame."""
    measure, is_whole = cards.measure, len(conditions) <= WHOLE_UP_TO
    figure = _map(
        conditions, measure.current, 0, measure, lambda part, band: cards.of_conditions(part, band, is_whole),
        cards.t, options,
    )  # fmt: skip
    return figure.update_layout(title_text=cards.t(f"map.{measure.key}"))


def hour_map(hour: pd.DataFrame, title: str, cards: CardWriter, options: MapOptions) -> go.Figure:
    """Map of an hour's averages of `cards.measure`, from a HOUR frame."""
    measure = cards.measure
    decimals = min(measure.decimals, 1)  # the card has them all; on the point there is no room
    figure = _map(hour, measure.mean, decimals, measure, cards.of_hour, cards.t, options)
    return figure.update_layout(title_text=title)


def _map(
    frame: pd.DataFrame,
    column: str,
    decimals: int,
    measure: Measure,
    cards_of: CardsOf,
    t: Texts,
    options: MapOptions,
) -> go.Figure:
    points = frame[frame["latitude"].notna() & frame["longitude"].notna()]
    values = points[column].astype("float64")
    keys = np.array([measure.key_of(value) for value in values.tolist()], dtype=object)
    nothing = unknown(t)
    bands = [*measure.bands(t), nothing] if nothing.key in keys else measure.bands(t)
    parts = {band.key: points[keys == band.key] for band in bands}  # each taken once: a frame of many columns
    figure = go.Figure()
    for band in bands:
        if band is not nothing and len(parts[band.key]):
            figure.add_trace(_glow(parts[band.key], band, len(points)))
    is_small = len(points) > NUMBERS_UP_TO
    if len(points) and not is_small:
        figure.add_trace(_edges(points, options.colours))
    figure.add_trace(_corners(points))
    if 0 < len(points) <= NAMES_UP_TO:
        figure.add_traces(_names(points, options.colours))
    # last, so that where a number and a name would touch, it is the number that is drawn
    for band in bands:
        part = parts[band.key]
        numbers = np.array([t.number(value, decimals) for value in values[keys == band.key]], dtype=object)
        marks = _small(band, options) if is_small else _large(band)
        figure.add_trace(_values(part, numbers, band, cards_of(part, band), marks))
    return figure.update_layout(_layout(points, t, options))


def _at(part: pd.DataFrame) -> dict[str, Any]:
    """Coordinates in four bytes each: to a metre, and half of what a browser has to load."""
    return {name: part[column].to_numpy("float32") for name, column in (("lat", "latitude"), ("lon", "longitude"))}


def _glow(part: pd.DataFrame, band: Band, places: int) -> go.Densitymap:
    fades = [[0, 0.0], [0.15, 0.1], [0.5, 0.3], [1, 0.6]]
    return go.Densitymap(
        **_at(part),
        z=np.ones(len(part), "int8"),
        zmin=0,
        zmax=1,
        radius=round(max(GLOW[1], GLOW[0] * math.sqrt(min(1, NAMES_UP_TO / places)))),
        colorscale=[[at, theme.with_alpha(band.colour, alpha)] for at, alpha in fades],
        showscale=False,
        hoverinfo="skip",
        name=band.label,
        showlegend=False,
    )


def _edges(points: pd.DataFrame, colours: theme.MapColours) -> go.Scattermap:
    """A rim around every point: map markers have no outline of their own."""
    return go.Scattermap(
        **_at(points),
        mode="markers",
        marker={"size": MARKER + 3, "color": colours.edge, "opacity": 0.85},
        hoverinfo="skip",
        showlegend=False,
        name="rims",
    )


def _corners(points: pd.DataFrame) -> go.Scattermap:
    """Two unseen points outside the others: the browser fits the map to all of them."""
    south, north, west, east = bounds(points)
    extent = max(north - south, east - west, 0.02) if len(points) else 0.0
    up, aside = MARGINS[0] * extent, MARGINS[1] * extent
    return go.Scattermap(
        lat=[south - up, north + up],
        lon=[west - aside, east + aside],
        mode="markers",
        marker={"size": 1, "opacity": 0},
        hoverinfo="skip",
        showlegend=False,
        name="corners",
    )


def _values(part: pd.DataFrame, numbers: np.ndarray, band: Band, cards: Cards, marks: dict[str, Any]) -> go.Scattermap:
    # an empty band keeps its legend entry: the scale is whole on every map
    at = _at(part) if len(part) else {"lat": [None], "lon": [None]}
    return go.Scattermap(
        **at,
        mode="markers+text",
        text=numbers,
        customdata=cards.fields,
        hovertemplate=cards.template,
        name=band.wrapped,
        showlegend=True,
        **marks,
    )


def _large(band: Band) -> dict[str, Any]:
    """Points with the number on them; the browser leaves out a number that would touch another."""
    return {
        "textfont": {"color": theme.ink_on(band.colour), "size": 11, "family": "sans-serif"},
        "textposition": "middle center",
        "marker": {"size": MARKER, "color": band.colour, "opacity": 1},
    }


def _small(band: Band, options: MapOptions) -> dict[str, Any]:
    """Points with the number above them, as many as do not touch."""
    return {
        "textfont": {"color": options.colours.ink, "size": 11, "family": "sans-serif"},
        "textposition": "top center",
        "marker": {"size": SMALL_MARKER, "color": band.colour, "opacity": 1},
    }


def _names(points: pd.DataFrame, colours: theme.MapColours) -> list[go.Scattermap]:
    """Place names, one trace per side of the point that they stand on."""
    names = [str(name) for name in points["location"]]
    sides = labels.label_sides(list(zip(points["latitude"], points["longitude"], strict=True)), names)
    written = [labels.broken(name, side) for name, side in zip(names, sides, strict=True)]
    groups = [(side, text.count(labels.BREAK)) for side, text in zip(sides, written, strict=True)]
    traces = []
    for side, breaks in sorted(set(groups)):
        is_part = [group == (side, breaks) for group in groups]
        traces.append(
            go.Scattermap(
                lat=points.loc[is_part, "latitude"],
                lon=points.loc[is_part, "longitude"],
                mode="markers+text",
                text=[text for text, is_it in zip(written, is_part, strict=True) if is_it],  # plain text, not HTML
                textposition=side,
                textfont={"color": colours.ink, "size": 12, "family": "sans-serif"},
                marker={"size": NAME_DISTANCE[breaks], "opacity": 0},
                hoverinfo="skip",
                showlegend=False,
                name="names",
            )
        )
    return traces


def _layout(points: pd.DataFrame, t: Texts, options: MapOptions) -> dict[str, Any]:
    return {
        "title": {"x": 0, "xanchor": "left", "font": {"size": 16, "weight": 600}},
        "height": HEIGHT,
        "margin": {"l": 0, "r": 0, "t": 44, "b": 0},
        "separators": t.separators,
        "legend": {
            "orientation": "h",
            "yanchor": "top",
            "y": LEGEND_SHARE - 0.01,
            "x": 0,
            "entrywidthmode": "fraction",
            "entrywidth": 0.48,
            "font": {"size": 11},
            "itemsizing": "constant",
            "itemclick": False,
            "itemdoubleclick": False,
        },
        "hoverlabel": {"align": "left"},
        "map": ground(points, options),
    }
