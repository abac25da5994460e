"""An observation: what it looks like on the wire, when it is valid, and what is derived from it.

Validity is a pure function of the message's bytes, the record's append time and the catalogue, so that the speed
layer, the batch layer and every re-run agree about every record.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec

from lambda_pipeline.domain.air_quality import aqi_category
from lambda_pipeline.domain.catalogue import MAX_NAME_LENGTH, Location
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.traffic import MIN_FREE_FLOW, congestion_ratio, traffic_level

SCHEMA_VERSION = 1
TOO_LATE = "late for a month that only the archive holds"
"""How the reason begins that an otherwise valid observation is refused with, below the retention floor."""
MAX_FUTURE = timedelta(minutes=5)  # against the record's own append time, never somebody's clock
MAX_AQI = 1000
MAX_SPEED = 300.0  # km/h
MAX_MESSAGE_BYTES = 1_000_000

_Text = Annotated[str, msgspec.Meta(max_length=1000)]
_Speed = Annotated[float, msgspec.Meta(ge=0, le=MAX_SPEED)]
_SubIndex = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class ObservationMessage(msgspec.Struct, frozen=True, omit_defaults=False, kw_only=True):
    """The JSON of one observation, schema version 1; version 0 stands for the first system's messages without one.

    `timestamp` is aware UTC (naive in version 0, meaning UTC). Speeds in km/h, AQI 0 to 1000, level 1 to 5, degrees
    WGS 84; a missing measure is null. Unknown fields are ignored.
    """

    schema_version: int = 0
    timestamp: datetime
    location: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)] | None = None
    aqi_value: Annotated[int, msgspec.Meta(ge=0, le=MAX_AQI)] | None = None
    aqi_measured_at: datetime | None = None
    dominant_pollutant: _Text | None = None
    pollutants: dict[_Text, _SubIndex] | None = None
    traffic_level: Annotated[int, msgspec.Meta(ge=1, le=5)] | None = None
    current_speed: _Speed | None = None
    free_flow_speed: _Speed | None = None
    road_closure: bool | None = None
    attributions: list[dict[_Text, _Text]] | None = None


class Observation(NamedTuple):
    """A valid observation with all that is derived from it, in the order in which the tables store it.

    `timestamp` and `hour_start` are aware UTC; `city_date` is the city's day; `pollutants` is JSON text;
    `congestion_ratio` is rounded to nine decimals.
    """

    location: str
    timestamp: datetime
    hour_start: datetime
    city_date: date
    latitude: float | None
    longitude: float | None
    aqi_value: int | None
    aqi_category: str
    traffic_level: int | None
    current_speed: float | None
    free_flow_speed: float | None
    congestion_ratio: float | None
    road_closure: bool | None
    is_peak_hour: bool
    pollutants: str | None


class InvalidObservationError(ValueError):
    """A message that does not parse or breaks a rule. Its text is the reason that the dead letter keeps."""


_MAX_DEPTH = 64
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)
_ESCAPED_NUL = b"\\u0000"  # the only way for a NUL to be in JSON
_decoder = msgspec.json.Decoder(ObservationMessage)
_encoder = msgspec.json.Encoder()


def encode(message: ObservationMessage) -> bytes:
    """The message's bytes on the wire."""
    return _encoder.encode(message)


def decode(payload: bytes | None) -> ObservationMessage:
    """The message in a record's value. Raises InvalidObservationError for whatever does not parse."""
    if not payload:
        raise InvalidObservationError("empty value" if payload is not None else "tombstone (no value)")
    if len(payload) > MAX_MESSAGE_BYTES:
        raise InvalidObservationError(f"value of {len(payload)} bytes, more than {MAX_MESSAGE_BYTES}")
    if payload.count(b"[") + payload.count(b"{") > _MAX_DEPTH:
        _refuse_depth(payload)
    try:
        message = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidObservationError(str(error)) from error
    if _ESCAPED_NUL in payload:
        _refuse_nul(message)
    return message


def _refuse_depth(payload: bytes) -> None:
    """Refuse deep nesting by a limit of ours: the decoder's depends on how deep its caller is nested itself."""
    depth = 0
    for found in _BRACKETS.finditer(payload):
        if found[0] in b"[{":
            depth += 1
            if depth > _MAX_DEPTH:
                raise InvalidObservationError(f"nested deeper than {_MAX_DEPTH}")
        elif found[0] in b"]}":
            depth -= 1


def _refuse_nul(message: ObservationMessage) -> None:
    """PostgreSQL stores no NUL character in text or jsonb. Looked for by hand: a pattern costs more than decoding."""
    texts = {
        "dominant_pollutant": [message.dominant_pollutant or ""],
        "pollutants": list(message.pollutants or ()),
        "attributions": [text for entry in message.attributions or () for pair in entry.items() for text in pair],
    }
    for field, found in texts.items():
        if any("\0" in text for text in found):
            raise InvalidObservationError(f"{field} holds the character NUL")


def as_utc(moment: datetime, name: str) -> datetime:
    """A moment of a message as aware UTC; naive means UTC. Raises InvalidObservationError outside years 1 to 9999."""
    if moment.tzinfo is UTC:
        return moment
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise InvalidObservationError(f"{name} {moment} is out of range") from error


class Validator:
    """Judges messages against a catalogue and derives what the tables store.

    `locations` maps each known name to its entry, switched off or not: a location is never deleted, so that a record
    judged valid once stays valid. `history_start` is the instant of the city day where history begins. What is observed
    before `raw_floor` is for the archive alone, which no layer's commit can look into; None: nothing is.
    """

    def __init__(
        self,
        locations: Mapping[str, Location],
        clock: CityClock,
        history_start: datetime,
        raw_floor: datetime | None = None,
    ) -> None:
        self.locations = dict(locations)
        self.clock = clock
        self.history_start = history_start
        self.raw_floor = raw_floor

    def validate(self, message: ObservationMessage, appended_at: datetime) -> Observation:
        """The observation in a message appended to the log at `appended_at` (aware UTC).

        The catalogue's coordinates win over the message's. A level that the message names is kept; otherwise it is
        derived from the speeds. Raises InvalidObservationError.
        """
        timestamp = message.timestamp
        if message.schema_version == SCHEMA_VERSION:
            if timestamp.tzinfo is None:
                raise InvalidObservationError("timestamp without an offset")
        elif message.schema_version != 0:
            raise InvalidObservationError(f"schema version {message.schema_version} is not known")
        timestamp = as_utc(timestamp, "timestamp")
        location = self.locations.get(message.location)
        if location is None:
            raise InvalidObservationError(f"location {message.location!r} is not in the catalogue")
        if timestamp < self.history_start:
            raise InvalidObservationError(f"timestamp {timestamp.isoformat()} is before the start of history")
        if timestamp > appended_at and timestamp - appended_at > MAX_FUTURE:
            raise InvalidObservationError(
                f"timestamp {timestamp.isoformat()} is from the future: appended at {appended_at.isoformat()}"
            )
        free_flow = message.free_flow_speed
        if free_flow is not None and 0 < free_flow < MIN_FREE_FLOW:
            raise InvalidObservationError(f"free_flow_speed {free_flow} is neither 0 nor at least {MIN_FREE_FLOW}")
        if self.raw_floor is not None and timestamp < self.raw_floor:  # last: what else is wrong is to be known first
            raise InvalidObservationError(f"{TOO_LATE}: {timestamp.isoformat()} is before {self.raw_floor.isoformat()}")
        return self._derive(message, timestamp, location)

    def _derive(self, message: ObservationMessage, timestamp: datetime, location: Location) -> Observation:
        hour_start, city_date, _, peak = self.clock.place(timestamp)
        level = message.traffic_level
        if level is None:
            level = traffic_level(message.current_speed, message.free_flow_speed, message.road_closure)
        known_place = location.latitude is not None
        return Observation(  # by position: the names cost a tenth of a record's time
            location.name,
            timestamp,
            hour_start,
            city_date,
            location.latitude if known_place else message.latitude,
            location.longitude if known_place else message.longitude,
            message.aqi_value,
            aqi_category(message.aqi_value),
            level,
            message.current_speed,
            message.free_flow_speed,
            congestion_ratio(message.current_speed, message.free_flow_speed),
            message.road_closure,
            peak,
            _json_text(message.pollutants),
        )


def _json_text(value: Any) -> str | None:
    return None if value is None else _encoder.encode(value).decode()
