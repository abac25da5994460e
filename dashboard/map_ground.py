"""What the maps are drawn on: a plain ground with a grid of degrees, and the tiles, if any, as a raster layer on it.

A named style that lives at an address draws nothing at all where that address cannot be reached, and asks a font
server for its letters. With a style of our own points, glow, numbers and place names are there in any case.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from dashboard import formats, theme

LEGEND_SHARE: Final = 0.2  # of the height; the same on every map, so that two side by side are level
_GRID_STEPS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # degrees


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


def ground(points: pd.DataFrame, options: MapOptions) -> dict[str, Any]:
    """`layout.map` for points with latitude and longitude. The browser fits centre and zoom, at any width."""
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
    south, north, west, east = bounds(points)
    span = max(north - south, east - west, 0.02)
    step = next((step for step in _GRID_STEPS if span / step <= 8), _GRID_STEPS[-1])
    reach = 3 * span
    lines = []
    for at in _multiples(south - reach, north + reach, step):
        lines.append([[west - reach, at], [east + reach, at]])
    for at in _multiples(west - reach, east + reach, step):
        lines.append([[at, south - reach], [at, north + reach]])
    return {"type": "MultiLineString", "coordinates": lines}


def bounds(points: pd.DataFrame) -> tuple[float, float, float, float]:
    """South, north, west and east ends of the points; the whole world without any."""
    if not len(points):
        return -60.0, 70.0, -170.0, 170.0
    latitude, longitude = points["latitude"], points["longitude"]
    return float(latitude.min()), float(latitude.max()), float(longitude.min()), float(longitude.max())


def _multiples(low: float, high: float, step: float) -> list[float]:
    first = math.floor(low / step)
    return [round((first + i) * step, 6) for i in range(math.ceil((high - low) / step) + 1)]
