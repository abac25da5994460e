"""What a record of the log becomes: an observation with its position, or a dead letter with the reason."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec

from lambda_pipeline.domain.observation import InvalidObservationError, Observation, Validator, as_utc, decode

_encode = msgspec.json.Encoder().encode
KAFKA_SOURCE = "kafka"


class Record(Protocol):
    """What a Kafka client hands over; `timestamp` is the append time in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class Incoming(NamedTuple):
    """An observation with its position and with what only the latest observation keeps (`attributions` as JSON)."""

    observation: Observation
    source: str
    log_partition: int
    log_offset: int
    aqi_measured_at: datetime | None = None
    dominant_pollutant: str | None = None
    attributions: str | None = None


class DeadLetter(NamedTuple):
    """A record that is no valid observation: whole, with its position and the reason."""

    log_partition: int
    log_offset: int
    appended_at: datetime
    key: bytes | None
    payload: bytes | None
    error: str


_EPOCH = datetime.fromtimestamp(0, UTC)


@lru_cache(maxsize=64)
def _append_time(milliseconds: int) -> datetime:
    """Cached, because all records of a batch in the log have the same.

    A topic that once took its producers' timestamps may hold any number; what is no time counts as 1970, before which
    no observation can be.
    """
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return _EPOCH


def judge(
    record: Record, log_partition: int, validator: Validator, *, for_latest: bool = True
) -> Incoming | DeadLetter:
    """The one place where a record is found valid or not, for both layers and for every re-run.

    Without `for_latest`, what only the latest observation keeps is left out: making it takes a tenth of the time.
    """
    appended_at = _append_time(record.timestamp)
    try:
        message = decode(record.value)
        observation = validator.validate(message, appended_at)
        measured = None if message.aqi_measured_at is None else as_utc(message.aqi_measured_at, "aqi_measured_at")
    except InvalidObservationError as error:
        reason = str(error).replace("\0", "\\0")
        return DeadLetter(log_partition, record.offset, appended_at, record.key, record.value, reason)
    if not for_latest:
        return Incoming(observation, KAFKA_SOURCE, log_partition, record.offset)
    return Incoming(
        observation,
        KAFKA_SOURCE,
        log_partition,
        record.offset,
        measured,
        message.dominant_pollutant,
        None if message.attributions is None else _encode(message.attributions).decode(),
    )
