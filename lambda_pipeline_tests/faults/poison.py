"""Records that are no observation: every one of them must become a dead letter, whole, and nothing else."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lambda_pipeline.domain.observation import MAX_MESSAGE_BYTES

Fields = dict[str, object]
HUGE = 1_040_000  # bytes; the topic takes 1,048,576 with the record's frame


def _text(fields: Fields) -> bytes:
    return json.dumps(fields).encode()


def _with(**changes: object) -> Callable[[Fields], bytes]:
    return lambda fields: _text(fields | changes)


def _instead(old: str, new: str) -> Callable[[Fields], bytes]:
    return lambda fields: json.dumps(fields | {"aqi_value": 77}).replace(old, new).encode()


def _without(name: str) -> Callable[[Fields], bytes]:
    return lambda fields: _text({key: value for key, value in fields.items() if key != name})


def _invalid_utf8(fields: Fields) -> bytes:
    return _text(fields | {"location": "?"}).replace(b'"?"', b'"\xff\xfe\xc3("')


def _future(fields: Fields) -> bytes:
    return _text(fields | {"timestamp": (datetime.now(UTC) + timedelta(days=1)).isoformat()})


def _huge(fields: Fields) -> bytes:
    """Valid but for its size."""
    value = _text(fields | {"padding": "x" * HUGE})[: HUGE - 2] + b'"}'
    if not MAX_MESSAGE_BYTES < len(value) <= HUGE:
        raise ValueError(f"{len(value)} bytes are not huge")
    return value


POISON: dict[str, Callable[[Fields], bytes | None]] = {
    "tombstone": lambda _: None,
    "empty": lambda _: b"",
    "zeros": lambda _: b"\0" * 64,
    "invalid UTF-8": _invalid_utf8,
    "truncated": lambda fields: _text(fields)[:-7],
    "two documents": lambda fields: _text(fields) * 2,
    "a list": lambda fields: b"[" + _text(fields) + b"]",
    "null": lambda _: b"null",
    "a number": lambda _: b"17",
    "not JSON": lambda _: b"<observation aqi='12'/>",
    "NaN": _instead("77", "NaN"),
    "infinity": _with(current_speed=1e308, free_flow_speed=1e308),
    "overflow": _instead("77", "1e999"),
    "number as string": _with(aqi_value="77"),
    "fraction of an AQI": _with(aqi_value=77.5),
    "true as number": _with(traffic_level=True),
    "negative AQI": _with(aqi_value=-1),
    "AQI too high": _with(aqi_value=1001),
    "level 6": _with(traffic_level=6),
    "speed too high": _with(current_speed=300.5),
    "slow free flow": _with(free_flow_speed=0.0001),
    "latitude off Earth": _with(latitude=91),
    "future schema": _with(schema_version=2),
    "schema as string": _with(schema_version="1"),
    "unknown location": _with(location="Atlantis"),
    "no location": _without("location"),
    "empty location": _with(location=""),
    "no timestamp": _without("timestamp"),
    "timestamp as number": _with(timestamp=1_750_000_000),
    "naive timestamp": _with(timestamp="2025-06-01T00:00:00"),
    "from the future": _future,
    "too early": _with(timestamp="2024-12-30T00:00:00Z"),
    "year 1": _with(timestamp="0001-01-01T00:00:00+14:00"),
    "NUL in text": _with(dominant_pollutant="pm\0"),
    "pollutants as list": _with(pollutants=["pm25"]),
    "deep list": lambda _: b"[" * 100_000,
    "deep objects": lambda _: b'{"pollutants":' * 20_000,
    "huge": _huge,
}
_HEAVY = ("huge", "deep list", "deep objects")  # a few are enough
_KEYS = (None, b"", b"\xff\xfe", b"x" * 500)


class Poisoner:
    """Draws kinds of poison from a seed: all of them in turn, in an order of its own; the heavy ones only twice."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._heavy = list(_HEAVY) * 2
        self._pending: list[str] = []

    def draw(self, fields: Fields) -> tuple[str, bytes | None, bytes | None]:
        """(kind, key, value) of a poisonous record made out of a valid one's fields."""
        if not self._pending:
            light = [kind for kind in POISON if kind not in _HEAVY]
            self._pending = self._rng.sample(light, len(light)) + self._heavy[:3]
            del self._heavy[:3]
            self._rng.shuffle(self._pending)
        kind = self._pending.pop()
        own_key = str(fields["location"]).encode()
        key = own_key if self._rng.random() < 0.7 else self._rng.choice(_KEYS)
        value = POISON[kind](fields)
        return kind, own_key if value is None else key, value
