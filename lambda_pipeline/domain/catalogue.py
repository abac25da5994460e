"""The city catalogue: a TOML file that names a city, its time zone, its peak hours and its locations."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.peak_hours import DEFAULT_PEAK_WINDOWS, PeakWindow
from lambda_pipeline.errors import CatalogueError

MAX_NAME_LENGTH = 200
_CITY_KEYS = {"name", "timezone", "peak_hours", "locations"}
_LOCATION_KEYS = {"name", "aqicn_station", "latitude", "longitude"}
_HOUR = re.compile(r"([01]\d|2[0-4]):00")


@dataclass(frozen=True, slots=True)
class Location:
    """A place that is observed. `name` is its key everywhere. Degrees, WGS 84; both or neither."""

    name: str
    aqicn_station: str | None = None
    latitude: float | None = None
    longitude: float | None = None

    @property
    def is_polled(self) -> bool:
        """Whether any API can be asked about it."""
        return self.aqicn_station is not None or self.latitude is not None


@dataclass(frozen=True, slots=True)
class City:
    """What a catalogue file says."""

    name: str
    timezone: str
    peak_windows: tuple[PeakWindow, ...] = DEFAULT_PEAK_WINDOWS
    locations: tuple[Location, ...] = ()

    def clock(self) -> CityClock:
        """The city's own clock, which knows its peak windows."""
        return CityClock(self.timezone, self.peak_windows)


def load_city(path: Path) -> City:
    """Read and check a catalogue file. Raises CatalogueError that names the file, the entry and what to do."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CatalogueError(
            f"there is no city catalogue at {path}.", "Set LAMBDA_CITY to a shipped city's name or to a TOML file."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise CatalogueError(f"the city catalogue {path} cannot be read: {error}.") from error
    try:
        return parse_city(data)
    except CatalogueError as error:
        raise CatalogueError(f"{path}: {error.message}", error.next_action) from error


def parse_city(data: Mapping[str, Any]) -> City:
    """A city from a parsed TOML document. Raises CatalogueError."""
    _refuse_unknown(data, _CITY_KEYS, "the city")
    name = _text(data, "name", "the city")
    timezone = _text(data, "timezone", "the city")
    CityClock(timezone)
    entries = data.get("locations", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CatalogueError("locations must be tables.", "Write each one under [[locations]].")
    locations = tuple(_location(entry, number) for number, entry in enumerate(entries, 1))
    seen: set[str] = set()
    for location in locations:
        if location.name in seen:
            raise CatalogueError(f"location {location.name!r} is listed twice.", "Names must be unique.")
        seen.add(location.name)
    return City(name, timezone, _peak_windows(data.get("peak_hours")), locations)


def _location(entry: Mapping[str, Any], number: int) -> Location:
    where = f"location {number}"
    name = _text(entry, "name", where)
    where = f"location {name!r}"
    _refuse_unknown(entry, _LOCATION_KEYS, where)
    station = _text(entry, "aqicn_station", where) if "aqicn_station" in entry else None
    if station is not None and not re.fullmatch(r"[@A-Za-z0-9_/-]+", station):
        raise CatalogueError(f"{where}: aqicn_station {station!r} is not a station.", "Write e.g. A521365 or @8294.")
    latitude = _degrees(entry, "latitude", 90, where)
    longitude = _degrees(entry, "longitude", 180, where)
    if (latitude is None) != (longitude is None):
        raise CatalogueError(f"{where}: only one of latitude and longitude is given.", "Give both or neither.")
    return Location(name, station, latitude, longitude)


def _peak_windows(value: object) -> tuple[PeakWindow, ...]:
    if value is None:
        return DEFAULT_PEAK_WINDOWS
    hint = 'Write peak_hours = [["06:00", "10:00"], ["16:00", "20:00"]].'
    if not isinstance(value, list):
        raise CatalogueError("peak_hours must be a list of pairs.", hint)
    windows = []
    for pair in value:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(end, str) for end in pair)):
            raise CatalogueError(f"peak_hours: {pair!r} is not a pair of times.", hint)
        ends = [_HOUR.fullmatch(end) for end in pair]
        if not all(ends):
            raise CatalogueError(f"peak_hours: {pair!r} is not on whole hours.", hint)
        try:
            windows.append(PeakWindow(*(int(end[:2]) for end in pair)))
        except ValueError as error:
            raise CatalogueError(f"peak_hours: {error}.", hint) from error
    ordered = sorted(windows, key=lambda window: window.start_hour)
    for window, after in pairwise(ordered):
        if after.start_hour < window.end_hour:
            raise CatalogueError(f"peak_hours: {window} and {after} overlap.", hint)
    return tuple(windows)


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME_LENGTH or "\0" in value:
        raise CatalogueError(f"{where}: {key} is missing or not a text of 1 to {MAX_NAME_LENGTH} characters.")
    return value


def _degrees(table: Mapping[str, Any], key: str, limit: int, where: str) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -limit <= value <= limit:
        raise CatalogueError(f"{where}: {key} must be a number from -{limit} to {limit}, not {value!r}.")
    return float(value)


def _refuse_unknown(table: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise CatalogueError(f"{where}: unknown key {unknown[0]!r}.", f"Known are {', '.join(sorted(known))}.")
