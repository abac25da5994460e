"""Which observations of the raw data, and in which order: what a reader chose, checked by its types."""

from dataclasses import dataclass
from enum import StrEnum


class RawSort(StrEnum):
    """Columns that raw data can be sorted by. Equal values are sorted by time, newest first, then by location."""

    TIMESTAMP = "timestamp"
    LOCATION = "location"
    AQI = "aqi_value"
    TRAFFIC = "traffic_level"
    SPEED = "current_speed"


class Half(StrEnum):
    """A half of an observation that may be missing."""

    AQI = "aqi"
    TRAFFIC = "traffic"


@dataclass(frozen=True, slots=True)
class RawFilter:
    """What raw data are narrowed down to. Nothing chosen means no narrowing; what is chosen must all hold."""

    layers: tuple[str, ...] = ()  # "speed", "batch"
    aqi_categories: tuple[str, ...] = ()
    traffic_levels: tuple[int, ...] = ()
    missing: Half | None = None  # only observations without this half
    is_peak_hour: bool | None = None


EVERYTHING = RawFilter()
