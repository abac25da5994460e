"""Maps of the newest conditions: a HEATMAP frame in, a Plotly figure out.

The ground is a plain style of our own with the tiles, if any, as a raster layer below the traces: a named style that
lives at an address draws nothing at all where that address cannot be reached, and asks a font server for its letters.
So points, glow, numbers and place names are there in any case.
"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard import formats, labels, theme
from dashboard.measures import AQI, TRAFFIC, Band, Measure
from dashboard.texts import Texts
from dashboard.units import KM_H
from lambda_pipeline.domain.city_time import CityClock

HEIGHT = 560  # pixels
MARKER = 27
NAME_DISTANCE = 90, 200  # of one line and of two: Plotly moves a label by this / 100 em and a bit, clear of the point
MARGINS = 0.07, 0.13  # of the extent, north-south and east-west, so that points and names at the edge are whole
LEGEND_SHARE = 0.2  # of the height; the same on every map, so that two side by side are level
GLOW = 62  # pixels around a point
NAMES_UP_TO = 60  # places; beyond that, names would only cover each other
NUMBERS_UP_TO = 400
_GRID_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # degrees


@dataclass(frozen=True, slots=True)
class MapOptions:
    """What a map needs beside its frame. An empty `tile_url` means no tiles."""

    tile_url: str = ""
    tile_attribution: str = ""
    is_dark: bool = False

    @property
    def colours(self) -> theme.MapColours:
        """Colours of the ground; tiles are light in either theme."""
        return theme.DARK_MAP if self.is_dark and not self.tile_url else theme.LIGHT_MAP


def without_coordinates(conditions: pd.DataFrame) -> list[str]:
    """Names of the places of a HEATMAP frame that no map can show."""
    is_lost = conditions["latitude"].isna() | conditions["longitude"].isna()
    return [str(name) for name in conditions.loc[is_lost, "location"]]


def conditions_map(
    conditions: pd.DataFrame, measure: Measure, clock: CityClock, t: Texts, options: MapOptions
) -> go.Figure:
    """Map of `measure` (TRAFFIC: level 1 to 5; AQI: US EPA index) from a HEATMAP frame.

    Per band of the measure one glow in the band's own colour (so that glows never add up to another band's colour) and
    one trace of points with the value written on them, which is also the legend entry. Missing values are grey.
    """
    points = conditions[conditions["latitude"].notna() & conditions["longitude"].notna()]
    values = points[measure.current].astype("float64")
    bands = measure.bands(t)
    bands_of = [measure.band_of(None if pd.isna(value) else value, t).key for value in values]
    keys = pd.Series(bands_of, index=points.index, dtype="str")
    unknown = measure.band_of(None, t)
    figure = go.Figure()
    for band in bands:
        part = points[keys == band.key]
        if len(part):
            figure.add_trace(_glow(part, band))
    if len(points):
        figure.add_trace(_edges(points, options.colours))
    figure.add_trace(_corners(points))
    if 0 < len(points) <= NAMES_UP_TO:
        figure.add_traces(_names(points, options.colours))
    # last, so that where a number and a name would touch, it is the number that is drawn
    for band in [*bands, unknown] if unknown.key in bands_of else bands:
        figure.add_trace(_values(points[keys == band.key], band, measure, clock, t))
    figure.update_layout(_layout(points, measure, t, options))
    return figure


def _glow(part: pd.DataFrame, band: Band) -> go.Densitymap:
    fades = [[0, 0.0], [0.15, 0.1], [0.5, 0.3], [1, 0.6]]
    return go.Densitymap(
        lat=part["latitude"],
        lon=part["longitude"],
        z=[1.0] * len(part),
        zmin=0,
        zmax=1,
        radius=GLOW,
        colorscale=[[at, theme.with_alpha(band.colour, alpha)] for at, alpha in fades],
        showscale=False,
        hoverinfo="skip",
        name=band.label,
        showlegend=False,
    )


def _edges(points: pd.DataFrame, colours: theme.MapColours) -> go.Scattermap:
    """A rim around every point: map markers have no outline of their own."""
    return go.Scattermap(
        lat=points["latitude"],
        lon=points["longitude"],
        mode="markers",
        marker={"size": MARKER + 3, "color": colours.edge, "opacity": 0.85},
        hoverinfo="skip",
        showlegend=False,
        name="rims",
    )


def _corners(points: pd.DataFrame) -> go.Scattermap:
    """Two unseen points outside the others: the browser fits the map to all of them."""
    south, north, west, east = _bounds(points)
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


def _values(part: pd.DataFrame, band: Band, measure: Measure, clock: CityClock, t: Texts) -> go.Scattermap:
    is_legible = len(part) <= NUMBERS_UP_TO
    return go.Scattermap(
        # an empty band keeps its legend entry: the scale is whole on every map
        lat=part["latitude"] if len(part) else [None],
        lon=part["longitude"] if len(part) else [None],
        mode="markers+text" if is_legible else "markers",
        text=[t.number(None if pd.isna(value) else float(value)) for value in part[measure.current]],
        textfont={"color": theme.ink_on(band.colour), "size": 11, "family": "sans-serif"},
        textposition="middle center",
        marker={"size": MARKER, "color": band.colour, "opacity": 1, "allowoverlap": True},
        hovertext=[hover_card(row, measure, clock, t) for _, row in part.iterrows()],
        hoverinfo="text",
        name=band.wrapped,
        showlegend=True,
    )


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


def hover_card(row: "pd.Series[Any]", measure: Measure, clock: CityClock, t: Texts) -> str:
    """Everything known about a place, as Plotly's pseudo-HTML with all outside text escaped."""
    value = None if formats.is_missing(row[measure.current]) else float(row[measure.current])
    band = measure.band_of(value, t)
    named = t("hover.missing") if value is None else f"{t.number(value)} · {formats.hover(band.label)}"
    lines = [f"<b>{formats.hover(row['location'])}</b>", f"{t(measure.key)}: <b>{named}</b>"]
    lines += _traffic_lines(row, t) if measure is TRAFFIC else _aqi_lines(row, clock, t)
    other = AQI if measure is TRAFFIC else TRAFFIC
    if not formats.is_missing(row[other.current]):
        lines.append(f"{t(other.key)}: {t.number(float(row[other.current]))}")
    lines.append(t("hover.peak") if row["is_peak_hour"] else t("hover.off_peak"))
    observed, age = row[f"{measure.key}_observed_at"], row[f"{measure.key}_age_seconds"]
    if not formats.is_missing(observed):
        lines.append(t("hover.observed", time=formats.date_time(observed, clock, t)))
        # An age only where it matters, and in hours: Streamlit draws a chart anew, zoom and all, when a letter changes.
        if age >= 3600:
            lines.append(f"<b>{t('hover.old', hours=t.number(age // 3600))}</b>")
    if not formats.is_missing(row["layer"]):
        lines.append(t("hover.layer", layer=t(f"layer.{row['layer']}")))
    return "<br>".join(lines)


def _traffic_lines(row: "pd.Series[Any]", t: Texts) -> list[str]:
    lines = []
    if not formats.is_missing(row["current_speed"]):
        lines.append(
            t("hover.speed", current=t.number(row["current_speed"]), free=KM_H.written(row["free_flow_speed"], t))
        )
    if not formats.is_missing(row["congestion_ratio"]):
        lines.append(t("hover.lost", share=t.percent(max(row["congestion_ratio"], 0.0))))
    if not formats.is_missing(row["road_closure"]) and row["road_closure"]:
        lines.append(f"<b>{t('hover.closed')}</b>")
    return lines


def _aqi_lines(row: "pd.Series[Any]", clock: CityClock, t: Texts) -> list[str]:
    lines = []
    if not formats.is_missing(row["dominant_pollutant"]):
        lines.append(t("hover.dominant", pollutant=formats.hover(formats.pollutant(row["dominant_pollutant"]))))
    if parts := formats.pollutants(row["pollutants"]):
        lines.append(formats.hover_lines(t("hover.pollutants", pollutants=parts)))
    if not formats.is_missing(row["aqi_measured_at"]):
        lines.append(t("hover.measured", time=formats.date_time(row["aqi_measured_at"], clock, t)))
    if names := formats.source_names(row["attributions"]):
        lines.append(formats.hover_lines(t("hover.sources", sources=", ".join(names))))
    return lines


def _layout(points: pd.DataFrame, measure: Measure, t: Texts, options: MapOptions) -> dict[str, Any]:
    return {
        "title": {"text": t(f"map.{measure.key}")},
        "height": HEIGHT,
        "margin": {"l": 0, "r": 0, "t": 44, "b": 0},
        "uirevision": "kept",  # a refresh does not move what the reader has zoomed to
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
        "map": _map(points, options),
    }


def _map(points: pd.DataFrame, options: MapOptions) -> dict[str, Any]:
    """`layout.map`: the ground with its grid, and the tiles. The browser fits centre and zoom, at any width."""
    colours = options.colours
    style = {
        "version": 8,
        # never empty: Plotly drops an empty `sources`, and without it the style is invalid
        "sources": {"grid": {"type": "geojson", "data": graticule(points)}},
        "layers": [
            {"id": "ground", "type": "background", "paint": {"background-color": colours.ground}},
            {"id": "grid", "type": "line", "source": "grid", "paint": {"line-color": colours.grid, "line-width": 1}},
        ],
    }
    tiles = {
        "below": "traces",
        "sourcetype": "raster",
        "source": [options.tile_url],
        "sourceattribution": formats.hover(options.tile_attribution),
    }
    domain = {"x": [0, 1], "y": [LEGEND_SHARE, 1]}
    return {"domain": domain, "style": style, "layers": [tiles] if options.tile_url else []}


def graticule(points: pd.DataFrame) -> dict[str, Any]:
    """GeoJSON lines of a round number of degrees around the points, so that an empty ground still has a scale."""
    south, north, west, east = _bounds(points)
    span = max(north - south, east - west, 0.02)
    step = next((step for step in _GRID_STEPS if span / step <= 8), _GRID_STEPS[-1])
    reach = 3 * span
    lines = []
    for at in _multiples(south - reach, north + reach, step):
        lines.append([[west - reach, at], [east + reach, at]])
    for at in _multiples(west - reach, east + reach, step):
        lines.append([[at, south - reach], [at, north + reach]])
    return {"type": "MultiLineString", "coordinates": lines}


def _bounds(points: pd.DataFrame) -> tuple[float, float, float, float]:
    """South, north, west and east ends of the points; the whole world without any."""
    if not len(points):
        return -60.0, 70.0, -170.0, 170.0
    latitude, longitude = points["latitude"], points["longitude"]
    return float(latitude.min()), float(latitude.max()), float(longitude.min()), float(longitude.max())


def _multiples(low: float, high: float, step: float) -> list[float]:
    first = math.floor(low / step)
    return [round((first + i) * step, 6) for i in range(math.ceil((high - low) / step) + 1)]
