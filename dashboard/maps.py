"""Maps of traffic and air: a HEATMAP frame of now or a HOUR frame of the past in, a Plotly figure out.

Few places are points with the value written on them and the name beside them, over a glow per band in the band's own
colour (so that glows never add up to another band's colour). Thousands are one trace of small points and nothing else:
they lie so close that they are the glow themselves, and a browser draws one trace in a fraction of the time. Their
numbers travel along, and the page writes them beside the points once the reader has come near (live_map.js). Missing
values are grey.

`layout.meta` holds what Plotly has no word for: `legend`, a list of label and colour, and `bounds`, the south, north,
west and east ends of the first view.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard import labels, theme
from dashboard.hover_cards import WHOLE_UP_TO, Cards, CardWriter, written
from dashboard.map_ground import MapOptions, bounds, ground
from dashboard.measures import Band, Measure, unknown
from dashboard.texts import Texts

HEIGHT: Final = 460  # pixels, without the legend
MARKER: Final = 27
SMALL_MARKER: Final = 8
NAME_DISTANCE: Final = 90, 200  # of one line and of two: Plotly moves a label by this / 100 em and a bit, off the point
MARGINS: Final = 0.07, 0.13  # of the extent, north-south and east-west, so that points and names at the edge are whole
GLOW: Final = 62, 16  # pixels around a point, of few places and of very many
NAMES_UP_TO: Final = 60  # places; beyond that, names would only cover each other
NUMBERS_UP_TO: Final = 150  # places with their number on the point; beyond that, points would only cover each other
GLOWS_UP_TO: Final = 1000  # places; beyond that, points would only cover their glow
VALUES: Final = "values"  # name of the traces whose points are the places, each once

CardsOf = Callable[[pd.DataFrame, "np.ndarray[Any, Any]"], Cards]  # of rows, and the label of each one's band


def without_coordinates(conditions: pd.DataFrame) -> list[str]:
    """Names of the places of a frame that no map can show."""
    is_lost = conditions["latitude"].isna() | conditions["longitude"].isna()
    return [str(name) for name in conditions.loc[is_lost, "location"]]


def conditions_map(conditions: pd.DataFrame, cards: CardWriter, options: MapOptions) -> go.Figure:
    """Map of the newest values of `cards.measure`, from a HEATMAP frame."""
    measure, is_whole = cards.measure, len(conditions) <= WHOLE_UP_TO
    figure = _map(
        conditions, measure.current, 0, measure, lambda part, names: cards.of_conditions(part, names, is_whole),
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
    keys = [measure.key_of(value) for value in values.tolist()]
    nothing = unknown(t)
    bands = [*measure.bands(t), nothing] if nothing.key in keys else measure.bands(t)
    numbers = {band.key: number for number, band in enumerate(bands)}
    in_band = np.array([numbers[key] for key in keys], "int8")
    # as they are drawn: the worst on top, and last what has no value
    order = np.argsort(in_band, kind="stable")
    points, values, in_band = points.iloc[order], values.iloc[order], in_band[order]
    texts = np.array(written(values, lambda value: t.number(value, decimals)), dtype=object)
    names = np.array([band.label for band in bands], dtype=object)[in_band]
    figure = go.Figure()
    if len(points) <= GLOWS_UP_TO:
        for number, band in enumerate(bands):
            if band is not nothing and (in_band == number).any():
                figure.add_trace(_glow(points[in_band == number], band, len(points)))
    if len(points) > NUMBERS_UP_TO:
        figure.add_trace(_small(points, texts, cards_of(points, names), in_band, bands, options))
    else:
        if len(points):
            figure.add_trace(_edges(points, options.colours))
        if 0 < len(points) <= NAMES_UP_TO:
            figure.add_traces(_names(points, options.colours))
        # last, so that where a number and a name would touch, it is the number that is drawn
        for number, band in enumerate(bands):
            if (is_it := in_band == number).any():
                figure.add_trace(_large(points[is_it], texts[is_it], cards_of(points[is_it], names[is_it]), band))
    if not len(points):
        figure.add_trace(go.Scattermap(lat=[None], lon=[None], name=VALUES, showlegend=False))
    return figure.update_layout(_layout(points, bands, t, options))


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


def _large(part: pd.DataFrame, texts: "np.ndarray[Any, Any]", cards: Cards, band: Band) -> go.Scattermap:
    """One band's points with the number on them; the browser leaves out a number that would touch another."""
    return go.Scattermap(
        **_at(part),
        mode="markers+text",
        text=texts,
        textfont={"color": theme.ink_on(band.colour), "size": 11, "family": "sans-serif"},
        textposition="middle center",
        marker={"size": MARKER, "color": band.colour, "opacity": 1},
        customdata=cards.fields,
        hovertemplate=cards.template,
        name=VALUES,
        showlegend=False,
    )


def _small(
    points: pd.DataFrame,
    texts: "np.ndarray[Any, Any]",
    cards: Cards,
    in_band: "np.ndarray[Any, Any]",
    bands: Sequence[Band],
    options: MapOptions,
) -> go.Scattermap:
    """Every point in one trace, each by the number of its band, without the numbers that live_map.js may write."""
    last = len(bands) - 1
    return go.Scattermap(
        **_at(points),
        mode="markers",
        text=texts,
        textfont={"color": options.colours.ink, "size": 11, "family": "sans-serif"},
        marker={
            "size": SMALL_MARKER,
            "color": in_band,
            "cmin": 0,
            "cmax": last,
            "colorscale": [[number / last, band.colour] for number, band in enumerate(bands)],
            "showscale": False,
            "opacity": 1,
        },
        customdata=cards.fields,
        hovertemplate=cards.template,
        name=VALUES,
        showlegend=False,
    )


def _names(points: pd.DataFrame, colours: theme.MapColours) -> list[go.Scattermap]:
    """Place names, one trace per side of the point that they stand on."""
    names = [str(name) for name in points["location"]]
    sides = labels.label_sides(list(zip(points["latitude"], points["longitude"], strict=True)), names)
    texts = [labels.broken(name, side) for name, side in zip(names, sides, strict=True)]
    groups = [(side, text.count(labels.BREAK)) for side, text in zip(sides, texts, strict=True)]
    traces = []
    for side, breaks in sorted(set(groups)):
        is_part = [group == (side, breaks) for group in groups]
        traces.append(
            go.Scattermap(
                lat=points.loc[is_part, "latitude"],
                lon=points.loc[is_part, "longitude"],
                mode="markers+text",
                text=[text for text, is_it in zip(texts, is_part, strict=True) if is_it],  # plain text, not HTML
                textposition=side,
                textfont={"color": colours.ink, "size": 12, "family": "sans-serif"},
                marker={"size": NAME_DISTANCE[breaks], "opacity": 0},
                hoverinfo="skip",
                showlegend=False,
                name="names",
            )
        )
    return traces


def _first_view(points: pd.DataFrame) -> list[float]:
    """The points' ends with a margin around them. The browser, which knows its width, fits the map to it."""
    south, north, west, east = bounds(points)
    extent = max(north - south, east - west, 0.02) if len(points) else 0.0
    up, aside = MARGINS[0] * extent, MARGINS[1] * extent
    return [south - up, north + up, west - aside, east + aside]


def _layout(points: pd.DataFrame, bands: Sequence[Band], t: Texts, options: MapOptions) -> dict[str, Any]:
    return {
        "title": {"x": 0, "xanchor": "left", "font": {"size": 16, "weight": 600}},
        "height": HEIGHT,
        "margin": {"l": 0, "r": 0, "t": 44, "b": 0},
        "separators": t.separators,
        "hoverlabel": {"align": "left"},
        "map": ground(points, options),
        "meta": {
            # every band, whether or not a place is in it: the scale is whole on every map
            "legend": [{"label": band.label, "colour": band.colour} for band in bands],
            "bounds": _first_view(points),
        },
    }
