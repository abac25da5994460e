"""AQI category: the US EPA's six bands with their official colours.

Source: US EPA, Technical Assistance Document for the Reporting of Daily Air Quality.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AqiBand:
    """One category; `upper` is the highest AQI that belongs to it (infinite for the last)."""

    upper: float
    category: str
    colour: str


AQI_BANDS: tuple[AqiBand, ...] = (
    AqiBand(50, "Good", "#00e400"),
    AqiBand(100, "Moderate", "#ffff00"),
    AqiBand(150, "Unhealthy for Sensitive Groups", "#ff7e00"),
    AqiBand(200, "Unhealthy", "#ff0000"),
    AqiBand(300, "Very Unhealthy", "#8f3f97"),
    AqiBand(float("inf"), "Hazardous", "#7e0023"),
)

UNKNOWN_CATEGORY = "Unknown"
UNKNOWN_COLOUR = "#9e9e9e"


def aqi_category(aqi: float | None) -> str:
    """Category of an AQI or of an average of AQIs: the first band whose upper end it does not exceed.

    So 50 is Good, 50.4 Moderate, and there is no gap between bands. None and NaN are "Unknown"; 0 is Good.
    """
    if aqi is None or math.isnan(aqi):
        return UNKNOWN_CATEGORY
    for band in AQI_BANDS:
        if aqi <= band.upper:
            return band.category
    return AQI_BANDS[-1].category


def lowest_aqi(category: str) -> int:
    """The lowest whole AQI of a category. Raises ValueError for a name that is none."""
    position = [band.category for band in AQI_BANDS].index(category)
    return int(AQI_BANDS[position - 1].upper) + 1 if position else 0


def aqi_colour(category: str) -> str:
    """EPA's colour of a category as "#rrggbb"; grey for "Unknown"."""
    for band in AQI_BANDS:
        if band.category == category:
            return band.colour
    return UNKNOWN_COLOUR
