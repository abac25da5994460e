"""Records of the log: an observation with its position, or a dead letter that keeps all of it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.log import DeadLetter, Incoming, judge
from lambda_pipeline.domain.observation import Validator

VALIDATOR = Validator({"Krukut": Location("Krukut")}, CityClock("Asia/Jakarta"), datetime(2024, 12, 31, 17, tzinfo=UTC))
APPENDED_MS = 1748833205123
APPENDED = datetime(2025, 6, 2, 3, 0, 5, 123000, tzinfo=UTC)


@dataclass(frozen=True)
class Record:
    value: bytes | None
    key: bytes | None = b"Krukut"
    topic: str = "traffic-aqi-data"
    partition: int = 3
    offset: int = 17
    timestamp: int = APPENDED_MS


def wire(**changes: object) -> bytes:
    message = {"schema_version": 1, "timestamp": "2025-06-02T03:00:00Z", "location": "Krukut", "aqi_value": 87}
    return json.dumps(message | changes).encode()


def test_an_observation_carries_its_position_and_source() -> None:
    found = judge(Record(wire()), 5, VALIDATOR)
    assert isinstance(found, Incoming)
    assert (found.log_partition, found.log_offset, found.source) == (5, 17, "kafka")
    assert found.observation.aqi_value == 87


def test_the_extras_of_the_latest_observation_come_along() -> None:
    extras = {
        "aqi_measured_at": "2025-06-02T09:00:00+07:00",
        "dominant_pollutant": "pm25",
        "attributions": [{"name": "KLHK", "url": "https://example.org/"}],
    }
    found = judge(Record(wire(**extras)), 5, VALIDATOR)
    assert isinstance(found, Incoming)
    assert found.aqi_measured_at == datetime(2025, 6, 2, 2, tzinfo=UTC)
    assert found.dominant_pollutant == "pm25"
    assert found.attributions == '[{"name":"KLHK","url":"https://example.org/"}]'


def test_a_measuring_time_without_an_offset_means_utc() -> None:
    found = judge(Record(wire(aqi_measured_at="2025-06-02T02:00:00")), 5, VALIDATOR)
    assert isinstance(found, Incoming)
    assert found.aqi_measured_at == datetime(2025, 6, 2, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone (no value)"),
        (b"", "empty value"),
        (wire(location="Atlantis"), "location 'Atlantis' is not in the catalogue"),
        (
            wire(aqi_measured_at="0001-01-01T00:00:00+14:00"),
            "aqi_measured_at 0001-01-01 00:00:00+14:00 is out of range",
        ),
        (
            wire(aqi_measured_at="9999-12-31T23:59:59-14:00"),
            "aqi_measured_at 9999-12-31 23:59:59-14:00 is out of range",
        ),
    ],
)
def test_a_dead_letter_keeps_the_whole_record_and_the_reason(value: bytes | None, reason: str) -> None:
    assert judge(Record(value), 5, VALIDATOR) == DeadLetter(5, 17, APPENDED, b"Krukut", value, reason)


def test_a_dead_letter_without_a_key() -> None:
    found = judge(Record(b"?", key=None), 5, VALIDATOR)
    assert isinstance(found, DeadLetter)
    assert found.key is None


def test_the_reason_holds_no_character_that_postgresql_refuses() -> None:
    for value in (wire(location="a\0b"), wire(dominant_pollutant="a\0b"), b"\0", wire(**{"pollutants": {"\0": "\0"}})):
        found = judge(Record(value), 5, VALIDATOR)
        assert isinstance(found, DeadLetter)
        assert "\0" not in found.error
        found.error.encode()


@pytest.mark.parametrize(
    ("timestamp", "valid"),
    [("2025-06-02T03:05:05.123Z", True), ("2025-06-02T03:05:05.123001Z", False)],
)
def test_the_future_is_measured_from_the_records_own_append_time(timestamp: str, valid: bool) -> None:
    assert isinstance(judge(Record(wire(timestamp=timestamp)), 5, VALIDATOR), Incoming) is valid


def test_judging_is_a_pure_function() -> None:
    assert judge(Record(wire()), 5, VALIDATOR) == judge(Record(wire()), 5, VALIDATOR)


@pytest.mark.parametrize("timestamp", [-1, 10**16, 2**63 - 1, -(2**62)])
def test_a_record_without_a_sensible_append_time_is_a_dead_letter(timestamp: int) -> None:
    """As a topic has them that once took its producers' timestamps."""
    found = judge(Record(wire(), timestamp=timestamp), 5, VALIDATOR)
    assert isinstance(found, DeadLetter)
    assert "from the future" in found.error


def nested(depth: int) -> bytes:
    return wire().replace(b'"aqi_value"', b'"unknown": ' + b"[" * depth + b"]" * depth + b', "aqi_value"')


def deep(frames: int, payload: bytes) -> Incoming | DeadLetter:
    return judge(Record(payload), 5, VALIDATOR) if frames == 0 else deep(frames - 1, payload)


@pytest.mark.parametrize("depth", [1, 63, 64, 900, 940, 990])
def test_validity_does_not_depend_on_where_it_is_judged(depth: int) -> None:
    assert deep(0, nested(depth)) == deep(300, nested(depth))


def test_only_real_nesting_counts() -> None:
    flat = wire(unknown=[[]] * 500, text="[{" * 500 + '\\"' + "[" * 100)
    assert isinstance(judge(Record(flat), 5, VALIDATOR), Incoming)
    assert isinstance(judge(Record(nested(100)), 5, VALIDATOR), DeadLetter)


@pytest.mark.parametrize(
    "changes",
    [
        {"aqi_measured_at": "2025-06-02T02:00:00Z", "dominant_pollutant": "pm25", "attributions": [{"name": "BMKG"}]},
        {"aqi_measured_at": "9999-12-31T23:30:00-23:00"},
        {"location": "Nowhere"},
    ],
)
def test_what_only_the_latest_observation_keeps_can_be_left_out_and_changes_no_verdict(
    changes: dict[str, object],
) -> None:
    whole = judge(Record(wire(**changes)), 5, VALIDATOR)
    part = judge(Record(wire(**changes)), 5, VALIDATOR, for_latest=False)
    if isinstance(whole, Incoming):
        assert part == Incoming(whole.observation, whole.source, whole.log_partition, whole.log_offset)
    else:
        assert part == whole
