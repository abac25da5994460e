"""AQICN (the World Air Quality Index project): a station's latest reading.

Every answer comes with HTTP 200; its `status` tells. `time.iso` is when the station measured, which can be hours ago;
`time.v` is not used, because it counts the station's local time as if it were UTC.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from lambda_pipeline.domain.observation import MAX_AQI
from lambda_pipeline.errors import SettingsError
from lambda_pipeline.ingestion.http import HttpSession
from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError

SOURCE = "aqicn"
_MAX_TEXT = 1000  # characters, as in the domain
_MAX_SUB_INDEX = 1e6
_MAX_ENTRIES = 50  # more than any station has; bounds the message
_ERROR_KINDS = {
    "invalid key": ErrorKind.KEY,
    "over quota": ErrorKind.RATE_LIMITED,
    "unknown station": ErrorKind.NO_STATION,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A station's reading: AQI 0 to 1000, when it was measured (aware UTC), and what the station says beside it.

    `pollutants` are AQICN's sub-indices by their short name ("pm25"; the weather is among them). `attributions` must
    be named wherever the data is shown.
    """

    aqi: int
    measured_at: datetime
    dominant_pollutant: str | None = None
    pollutants: dict[str, float] = field(default_factory=dict)
    attributions: list[dict[str, str]] = field(default_factory=list)


def parse_feed(payload: Any) -> Reading:
    """The reading in a decoded answer of /feed.

    Raises SourceError: `key`, `rate_limited`, `no_station` or `http` for its errors, `no_reading` where the AQI is
    "-", `shape` for what does not look like the API or lies outside the domain's ranges.
    """
    if not isinstance(payload, dict):
        raise _shape("not an object")
    data = payload.get("data")
    if payload.get("status") != "ok":
        raise _refusal(data)
    if not isinstance(data, dict):
        raise _shape("data is not an object")
    return Reading(
        aqi=_aqi(data.get("aqi")),
        measured_at=_measured_at(data.get("time")),
        dominant_pollutant=_text(data.get("dominentpol")),  # their spelling
        pollutants=_pollutants(data.get("iaqi")),
        attributions=_attributions(data.get("attributions")),
    )


class AqicnClient:
    """Asks AQICN. `base_url` without a path, e.g. https://api.waqi.info or the simulator's."""

    def __init__(self, session: HttpSession, base_url: str, token: str) -> None:
        """Raises SettingsError without a token."""
        if not token:
            raise SettingsError("AQICN_TOKEN is empty.", "Get a token at https://aqicn.org/data-platform/token/.")
        self._session = session
        self._base = base_url.rstrip("/")
        self._token = token

    def feed(self, station: str) -> Reading:
        """Latest reading of a station ("A521365", "@8294"). Raises SourceError."""
        url = f"{self._base}/feed/{quote(station, safe='@/')}/"
        return parse_feed(self._session.get_json(SOURCE, url, {"token": self._token}, self._token))


def _shape(detail: str) -> SourceError:
    return SourceError(SOURCE, ErrorKind.SHAPE, detail)


def _refusal(data: Any) -> SourceError:
    """The error that an answer names. Texts that we do not know are not quoted: they might repeat the request."""
    said = (data if isinstance(data, str) else "").strip().lower()
    for text, kind in _ERROR_KINDS.items():
        if text in said:
            return SourceError(SOURCE, kind, text)
    return SourceError(SOURCE, ErrorKind.HTTP, "the answer's status is not ok")


def _aqi(value: Any) -> int:
    if isinstance(value, str) and value.strip() in ("-", ""):
        raise SourceError(SOURCE, ErrorKind.NO_READING, "the station has no current reading")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_AQI:
        raise _shape(f"aqi is not a whole number from 0 to {MAX_AQI}")
    return value


def _measured_at(value: Any) -> datetime:
    text = value.get("iso") if isinstance(value, dict) else None
    instant = None
    if isinstance(text, str):
        try:
            parsed = datetime.fromisoformat(text)
            instant = parsed.astimezone(UTC) if parsed.tzinfo is not None else None
        except (ValueError, OverflowError):
            instant = None
    if instant is None:
        raise _shape("time.iso is not a time with an offset")
    return instant


def _text(value: Any) -> str | None:
    """A text that the domain accepts; None for anything else (PostgreSQL stores no NUL)."""
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and "\0" not in value else None


def _pollutants(value: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, entry in value.items() if isinstance(value, dict) else ():
        number = entry.get("v") if isinstance(entry, dict) else None
        if isinstance(number, bool) or not isinstance(number, int | float) or abs(number) > _MAX_SUB_INDEX:
            continue
        if _text(name) is not None and len(found) < _MAX_ENTRIES:
            found[name] = float(number)
    return found


def _attributions(value: Any) -> list[dict[str, str]]:
    """Who must be named, by name and address. Only web addresses: they end up as links on a page."""
    found: list[dict[str, str]] = []
    for entry in value if isinstance(value, list) else ():
        if not isinstance(entry, dict):
            continue
        name, url = _text(entry.get("name")), _text(entry.get("url"))
        kept = {} if name is None else {"name": name}
        if url is not None and url.lower().startswith(("http://", "https://")):
            kept["url"] = url
        if kept and len(found) < _MAX_ENTRIES:
            found.append(kept)
    return found
