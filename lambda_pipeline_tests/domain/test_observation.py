"""Messages: what is accepted, what is refused and why, and that nothing else ever happens."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.observation import (
    MAX_MESSAGE_BYTES,
    InvalidObservationError,
    Observation,
    ObservationMessage,
    Validator,
    decode,
    encode,
)
from lambda_pipeline.domain.peak_hours import DEFAULT_PEAK_WINDOWS

HISTORY_START = datetime(2024, 12, 31, 17, tzinfo=UTC)  # 2025-01-01 in Jakarta
APPENDED = datetime(2025, 6, 2, 3, 0, 5, tzinfo=UTC)
VALIDATOR = Validator(
    {
        "Krukut": Location("Krukut", "A495982", -6.1593, 106.818),
        "Nowhere": Location("Nowhere", "A1"),
    },
    CityClock("Asia/Jakarta", DEFAULT_PEAK_WINDOWS),
    HISTORY_START,
)
FULL: dict[str, Any] = {
    "schema_version": 1,
    "timestamp": "2025-06-02T02:54:00Z",
    "location": "Krukut",
    "latitude": -6.0,
    "longitude": 106.0,
    "aqi_value": 87,
    "aqi_measured_at": "2025-06-02T02:00:00+07:00",
    "dominant_pollutant": "pm25",
    "pollutants": {"pm25": 87, "o3": 3.5},
    "traffic_level": None,
    "current_speed": 21.5,
    "free_flow_speed": 43,
    "road_closure": False,
    "attributions": [{"name": "KLHK", "url": "https://example.org/"}],
}
FIRST_SYSTEM: dict[str, Any] = {
    "timestamp": "2025-06-02T02:54:00.123456",
    "location": "Krukut",
    "latitude": -6.1593,
    "longitude": 106.818,
    "aqi_value": 0,
    "traffic_level": 3,
}


def wire(base: dict[str, Any] = FULL, **changes: Any) -> bytes:
    """A message's bytes, some fields changed."""
    return json.dumps(base | changes).encode()


def judge(payload: bytes | None, appended_at: datetime = APPENDED) -> Observation:
    return VALIDATOR.validate(decode(payload), appended_at)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_message_of_schema_version_1() -> None:
    assert judge(wire()) == Observation(
        location="Krukut",
        timestamp=utc("2025-06-02T02:54"),
        hour_start=utc("2025-06-02T02:00"),
        city_date=date(2025, 6, 2),
        latitude=-6.1593,
        longitude=106.818,
        aqi_value=87,
        aqi_category="Moderate",
        traffic_level=4,
        current_speed=21.5,
        free_flow_speed=43,
        congestion_ratio=0.5,
        road_closure=False,
        is_peak_hour=True,
        pollutants='{"pm25":87.0,"o3":3.5}',
    )


def test_a_message_of_the_first_system() -> None:
    found = judge(wire(FIRST_SYSTEM))
    assert found.timestamp == utc("2025-06-02T02:54:00.123456")
    assert (found.aqi_value, found.aqi_category, found.traffic_level) == (0, "Good", 3)
    assert (found.current_speed, found.congestion_ratio, found.road_closure, found.pollutants) == (None,) * 4


@pytest.mark.parametrize(
    ("base", "text", "instant"),
    [
        (FIRST_SYSTEM, "2025-06-02T02:00:00", "2025-06-02T02:00:00"),
        (FIRST_SYSTEM, "2025-06-02 02:00:00.5", "2025-06-02T02:00:00.5"),
        (FIRST_SYSTEM, "2025-06-02T02:00:00.000001", "2025-06-02T02:00:00.000001"),
        (FIRST_SYSTEM, "2025-06-02T09:00:00+07:00", "2025-06-02T02:00:00"),
        (FULL, "2025-06-02T02:00:00Z", "2025-06-02T02:00:00"),
        (FULL, "2025-06-02T09:00:00+07:00", "2025-06-02T02:00:00"),
        (FULL, "2025-06-02T02:00:00.25Z", "2025-06-02T02:00:00.25"),
    ],
)
def test_timestamps_become_utc(base: dict[str, Any], text: str, instant: str) -> None:
    found = judge(wire(base, timestamp=text)).timestamp
    assert found == utc(instant)
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "changes",
    [
        {"aqi_value": 0},
        {"aqi_value": 1000},
        {"current_speed": 0, "free_flow_speed": 0},
        {"current_speed": 300, "free_flow_speed": 300},
        {"free_flow_speed": 0.001},
        {"traffic_level": 1},
        {"traffic_level": 5},
        {"latitude": -90, "longitude": -180},
        {"latitude": 90, "longitude": 180},
        {"aqi_value": None, "pollutants": None},
        {"current_speed": None, "free_flow_speed": None, "road_closure": None},
        {"aqi_value": None, "current_speed": None, "free_flow_speed": None, "road_closure": None},
        {"latitude": None, "longitude": None},
        {"something_new": {"of": ["a", "later", "producer"]}},
        {"dominant_pollutant": "x" * 1000},
        {"pollutants": {}},
        {"attributions": []},
    ],
)
def test_accepted(changes: dict[str, Any]) -> None:
    judge(wire(**changes))


@pytest.mark.parametrize("missing", sorted(set(FULL) - {"schema_version", "timestamp", "location"}))
def test_every_measure_may_be_missing_or_null(missing: str) -> None:
    without = {key: value for key, value in FULL.items() if key != missing}
    assert judge(wire(without)) == judge(wire(**{missing: None}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema_version": 2}, "schema version 2 is not known"),
        ({"schema_version": -1}, "schema version -1 is not known"),
        ({"schema_version": 10**40}, "schema version 1000"),
        ({"schema_version": "1"}, "schema_version"),
        ({"schema_version": None}, "schema_version"),
        ({"timestamp": None}, "timestamp"),
        ({"timestamp": 1748832840}, "timestamp"),
        ({"timestamp": "2025-06-02"}, "timestamp"),
        ({"timestamp": "2025-06-31T00:00:00Z"}, "timestamp"),
        ({"timestamp": "2025-06-02T02:54:00"}, "timestamp without an offset"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp .* is out of range"),
        ({"timestamp": "9999-12-31T23:59:59-14:00"}, "timestamp .* is out of range"),
        ({"location": None}, "location"),
        ({"location": ""}, "location"),
        ({"location": 7}, "location"),
        ({"location": "x" * 201}, "location"),
        ({"location": "krukut"}, "location 'krukut' is not in the catalogue"),
        ({"location": "Krukut\0"}, "is not in the catalogue"),
        ({"aqi_value": "87"}, "aqi_value"),
        ({"aqi_value": 87.5}, "aqi_value"),
        ({"aqi_value": -1}, "aqi_value"),
        ({"aqi_value": 1001}, "aqi_value"),
        ({"aqi_value": 10**40}, "aqi_value"),
        ({"aqi_value": True}, "aqi_value"),
        ({"aqi_value": float("nan")}, "malformed"),
        ({"aqi_measured_at": "yesterday"}, "aqi_measured_at"),
        ({"current_speed": "21.5"}, "current_speed"),
        ({"current_speed": -0.1}, "current_speed"),
        ({"current_speed": 300.1}, "current_speed"),
        ({"current_speed": float("nan")}, "malformed"),
        ({"current_speed": float("inf")}, "malformed"),
        ({"free_flow_speed": -1}, "free_flow_speed"),
        ({"free_flow_speed": 301}, "free_flow_speed"),
        ({"free_flow_speed": 5e-324}, "free_flow_speed 5e-324 is neither 0 nor at least 0.001"),
        ({"free_flow_speed": 0.00099}, "free_flow_speed 0.00099 is neither 0 nor at least 0.001"),
        ({"traffic_level": 0}, "traffic_level"),
        ({"traffic_level": 6}, "traffic_level"),
        ({"traffic_level": 2.5}, "traffic_level"),
        ({"traffic_level": "3"}, "traffic_level"),
        ({"road_closure": 1}, "road_closure"),
        ({"road_closure": "false"}, "road_closure"),
        ({"latitude": 90.1}, "latitude"),
        ({"longitude": -180.1}, "longitude"),
        ({"latitude": "-6.1"}, "latitude"),
        ({"dominant_pollutant": "pm\x0025"}, "dominant_pollutant"),
        ({"dominant_pollutant": "x" * 1001}, "dominant_pollutant"),
        ({"pollutants": {"pm\0": 1}}, "pollutants"),
        ({"pollutants": {"pm25": "87"}}, "pollutants"),
        ({"pollutants": {"pm25": 1.1e6}}, "pollutants"),
        ({"pollutants": [87]}, "pollutants"),
        ({"attributions": [{"name": "a\0"}]}, "attributions"),
        ({"attributions": {"name": "KLHK"}}, "attributions"),
    ],
)
def test_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidObservationError, match=reason):
        judge(wire(**changes))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (None, "tombstone"),
        (b"", "empty value"),
        (b" ", "truncated"),
        (b"null", "Expected `object`"),
        (b"[]", "Expected `object`"),
        (b"7", "Expected `object`"),
        (b"{}", "missing required field"),
        (b"\x00", "malformed"),
        (b"\xff\xfe", "malformed"),
        (wire()[:-1], "truncated"),
        (wire() + b"{}", "trailing"),
        (wire().replace(b"pm25", b"pm\xff\xff"), "utf-8"),
        (wire().replace(b'"pm25",', b'"\\ud800",'), "truncated|surrogate|malformed"),
        (wire().replace(b'"pm25",', b'"\\ud800\\u0041",'), "surrogate|malformed"),
        (wire().replace(b'"pm25",', b'"\\udc00",'), "surrogate|malformed"),
        (wire().replace(b"87,", b"NaN,", 1), "malformed"),
        (wire().replace(b"21.5", b"1e999"), "out of range"),
        (b'{"x":' + b"[" * 100_000, "nested deeper than 64"),
        (b'{"x":"' + b"y" * MAX_MESSAGE_BYTES + b'"}', "more than 1000000"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_message_is_refused(payload: bytes | None, reason: str) -> None:
    with pytest.raises(InvalidObservationError, match=reason):
        judge(payload)


@pytest.mark.parametrize(
    ("timestamp", "accepted"),
    [(HISTORY_START, True), (HISTORY_START - timedelta(microseconds=1), False)],
)
def test_history_begins_with_its_first_instant(timestamp: datetime, accepted: bool) -> None:
    payload = wire(timestamp=timestamp.isoformat())
    if accepted:
        assert judge(payload).timestamp == timestamp
    else:
        with pytest.raises(InvalidObservationError, match="before the start of history"):
            judge(payload)


@pytest.mark.parametrize(
    ("ahead", "accepted"),
    [
        (timedelta(), True),
        (timedelta(minutes=5), True),
        (timedelta(minutes=5, microseconds=1), False),
        (timedelta(days=1), False),
    ],
)
def test_the_future_begins_five_minutes_after_the_append(ahead: timedelta, accepted: bool) -> None:
    payload = wire(timestamp=(APPENDED + ahead).isoformat())
    if accepted:
        assert judge(payload).timestamp == APPENDED + ahead
    else:
        with pytest.raises(InvalidObservationError, match="from the future"):
            judge(payload)


@pytest.mark.parametrize(
    ("location", "coordinates"),
    [("Krukut", (-6.1593, 106.818)), ("Nowhere", (-6.0, 106.0))],
    ids=["the catalogue has them", "the catalogue has none"],
)
def test_the_catalogues_coordinates_win(location: str, coordinates: tuple[float, float]) -> None:
    found = judge(wire(location=location))
    assert (found.latitude, found.longitude) == coordinates


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"traffic_level": 1}, 1),  # what the message says is kept
        ({"road_closure": True}, 5),
        ({"road_closure": True, "current_speed": None, "free_flow_speed": None}, 5),
        ({"free_flow_speed": 0}, None),
        ({"free_flow_speed": None}, None),
        ({"current_speed": None}, None),
        ({"current_speed": 43}, 1),
    ],
)
def test_level(changes: dict[str, Any], level: int | None) -> None:
    assert judge(wire(**changes)).traffic_level == level


TEXTS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20)
MESSAGES = st.builds(
    ObservationMessage,
    schema_version=st.just(1),
    timestamp=st.datetimes(datetime(2025, 1, 1), datetime(2025, 6, 2), timezones=st.just(UTC)),  # noqa: DTZ001
    location=st.sampled_from(["Krukut", "Nowhere"]),
    latitude=st.none() | st.floats(-90, 90),
    longitude=st.none() | st.floats(-180, 180),
    aqi_value=st.none() | st.integers(0, 1000),
    aqi_measured_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    dominant_pollutant=st.none() | TEXTS,
    pollutants=st.none() | st.dictionaries(TEXTS, st.floats(-1e6, 1e6), max_size=4),
    traffic_level=st.none() | st.integers(1, 5),
    current_speed=st.none() | st.floats(0, 300),
    free_flow_speed=st.none() | st.just(0.0) | st.floats(0.001, 300),
    road_closure=st.none() | st.booleans(),
    attributions=st.none() | st.lists(st.dictionaries(TEXTS, TEXTS, max_size=3), max_size=3),
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just("2025-06-02T02:54:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(MESSAGES)
def test_what_is_valid_is_accepted_and_comes_back_from_the_wire_as_it_was(message: ObservationMessage) -> None:
    again = decode(encode(message))
    assert again == message
    observation = VALIDATOR.validate(again, APPENDED)
    assert observation == VALIDATOR.validate(message, APPENDED)
    assert (observation.location, observation.timestamp) == (message.location, message.timestamp)
    for measure in ("aqi_value", "current_speed", "free_flow_speed", "road_closure"):
        assert getattr(observation, measure) == getattr(message, measure)
    assert observation.traffic_level in (None, 1, 2, 3, 4, 5)
    pollutants = None if observation.pollutants is None else msgspec.json.decode(observation.pollutants)
    assert pollutants == message.pollutants


def assert_accepted_or_refused(payload: bytes) -> None:
    """Nothing but InvalidObservationError, and what is accepted comes back from the wire as it was."""
    try:
        message = decode(payload)
        observation = VALIDATOR.validate(message, APPENDED)
    except InvalidObservationError:
        return
    assert decode(encode(message)) == message
    assert observation.timestamp <= APPENDED + timedelta(minutes=5)
    "".join(str(value) for value in observation).encode()  # no half characters, which PostgreSQL would refuse


@given(st.binary(max_size=200))
@example(b'{"timestamp":"2025-06-02T02:54:00Z","location":"\\ud800"}')
def test_arbitrary_bytes_are_accepted_or_refused(payload: bytes) -> None:
    assert_accepted_or_refused(payload)


@given(st.dictionaries(st.sampled_from(sorted(FULL)), JSON_VALUES, max_size=4), st.sets(st.sampled_from(sorted(FULL))))
def test_messages_with_wrong_values_are_accepted_or_refused(changes: dict[str, Any], dropped: set[str]) -> None:
    kept = {key: value for key, value in (FULL | changes).items() if key not in dropped}
    assert_accepted_or_refused(json.dumps(kept).encode())


@given(st.data())
def test_messages_with_damaged_bytes_are_accepted_or_refused(data: st.DataObject) -> None:
    payload = bytearray(wire())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(payload) - 1))
        payload[where : where + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    assert_accepted_or_refused(bytes(payload))
