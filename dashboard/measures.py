"""The two things that are measured, with the columns that hold them: charts take a `Measure`, not a name."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dashboard import theme
from dashboard.texts import Texts
from lambda_pipeline.domain.air_quality import AQI_BANDS, UNKNOWN_CATEGORY, aqi_category
from lambda_pipeline.domain.traffic import TRAFFIC_LEVELS, traffic_level_name


@dataclass(frozen=True, slots=True)
class Band:
    """One step of a measure's scale: a name that is written, and its colour."""

    key: str
    label: str
    colour: str

    @property
    def wrapped(self) -> str:
        """The label in Plotly's markup, long names over two lines, for where a phone is narrow."""
        return "<br>".join(textwrap.wrap(self.label, 24)) if len(self.label) > 30 else self.label


@dataclass(frozen=True, slots=True)
class Measure:
    """Traffic or AQI: how its columns are called in serving's frames, how it is coloured, named and written."""

    key: str  # of its texts; also the middle of "avg_{key}", "{key}_count" in frames of averages
    current: str  # column of HEATMAP and RAW
    decimals: int  # of an average
    colour: str
    scale: tuple[tuple[float, str], ...]
    bands: Callable[[Texts], list[Band]]
    key_of: Callable[[float | None], str]  # the domain's rule: from a value or an average to its band's key

    def band_of(self, value: float | None, t: Texts) -> Band:
        """The band of a value or an average; a grey one of its own for a missing value."""
        key = self.key_of(value)
        return next((band for band in self.bands(t) if band.key == key), unknown(t))

    @property
    def mean(self) -> str:
        """Column of the average in HOUR, CITY_HOURLY and STATISTICS."""
        return f"avg_{self.key}"

    @property
    def count(self) -> str:
        """Column that says how many observations an average rests on."""
        return f"{self.key}_count"


def unknown(t: Texts) -> Band:
    """The band of what is missing."""
    return Band(UNKNOWN_CATEGORY, t("category.Unknown"), theme.UNKNOWN_COLOUR)


def _traffic_bands(t: Texts) -> list[Band]:
    return [
        Band(
            level.name,
            t("level", level=level.level, name=level.name, meaning=t(f"level.{level.level}")),
            theme.TRAFFIC_COLOURS[level.level],
        )
        for level in TRAFFIC_LEVELS
    ]


def _aqi_bands(t: Texts) -> list[Band]:
    bands, lower = [], 0
    for band in AQI_BANDS:
        span = f"{lower}+" if band.upper == float("inf") else f"{lower}–{band.upper:.0f}"
        bands.append(Band(band.category, f"{span} {t(f'category.{band.category}')}", band.colour))
        lower = int(band.upper) + 1 if band.upper != float("inf") else lower
    return bands


TRAFFIC: Final = Measure(
    "traffic", "traffic_level", 2, theme.TRAFFIC, theme.TRAFFIC_SCALE, _traffic_bands, traffic_level_name
)
AQI: Final = Measure("aqi", "aqi_value", 0, theme.AQI, theme.AQI_SCALE, _aqi_bands, aqi_category)
