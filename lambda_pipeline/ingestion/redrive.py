"""Dead letters sent again: mended where somebody says how, judged, and published like any other observation.

A letter's old position stays a dead letter for both layers, for ever. What is sent is a new record at a new position,
which both of them judge anew; so nothing in the union is special about it. **It counts once**: whatever is sent twice
(a process that dies after Kafka took a message and before the letter is marked, two people at once, a retry of what
`ingest` has delivered after all) is one observation by its location and timestamp, with the values stored first.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa

from lambda_pipeline.domain.observation import (
    InvalidObservationError,
    Observation,
    ObservationMessage,
    Validator,
    decode,
)
from lambda_pipeline.errors import BrokerUnavailableError, LambdaPipelineError
from lambda_pipeline.ingestion.delivery import Outcome, describe
from lambda_pipeline.ingestion.spool import Record
from lambda_pipeline.storage.dead_letters import Choice, claim_letters, mark_retried
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.log_partitions import LogPartition, register_partitions
from lambda_pipeline.storage.sql import sql
from lambda_pipeline.stream.topic import Topic

_AT_ONCE = 200  # letters of one transaction
FIELDS = frozenset(ObservationMessage.__struct_fields__)


class Fate(StrEnum):
    """What became of a letter: sent, brought into the archive, could be (dry run), still invalid, or refused."""

    SENT = "sent"
    ARCHIVED = "archived"
    VALID = "valid"
    INVALID = "invalid"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Retried:
    """A letter that was looked at. `reason` says why it was not sent; `is_known`, that its observation is stored."""

    id: int
    fate: Fate
    reason: str = ""
    position: str | None = None
    is_known: bool = False


@dataclass(frozen=True, slots=True)
class Fix:
    """How payloads are mended: by another one altogether, or by fields with other values."""

    payload: bytes | None = None
    fields: Mapping[str, Any] | None = None

    def apply(self, payload: bytes | None) -> bytes | None:
        """The mended payload. Raises InvalidObservationError where it has no fields to be set."""
        if self.payload is not None:
            return self.payload
        if not self.fields:
            return payload
        try:
            found = json.loads(payload or b"")
        except (ValueError, RecursionError) as error:
            raise InvalidObservationError(f"not JSON, so that no field can be set: {error}") from error
        if not isinstance(found, dict):
            raise InvalidObservationError("not a JSON object, so that no field can be set")
        return json.dumps({**found, **self.fields}).encode()


AS_IT_IS = Fix()
Merge = Callable[[sa.Connection, Sequence[Observation]], tuple[LogPartition, list[int | None]]]
"""See `archive.late.merge_late`: the import log's partition, and each observation's offset; None if it is stored."""


def judge_again(
    payload: bytes | None, validator: Validator, now: datetime, fix: Fix = AS_IT_IS
) -> tuple[bytes, Observation]:
    """What would be sent, and the observation in it, appended `now` (aware UTC). Raises InvalidObservationError."""
    mended = fix.apply(payload)
    observation = validator.validate(decode(mended), now)
    return mended or b"", observation


def retry_letters(
    engine: sa.Engine,
    choice: Choice,
    fix: Fix,
    send: Callable[[Sequence[Record]], Outcome] | None,
    topic: Topic | None,
    merge: Merge | None = None,
) -> Iterator[Retried]:
    """Send the open letters meant again, oldest first, and say of each what became of it once that is committed.

    By transactions of at most 200 letters, of which nothing is done before the one before was looked at:
    1. Claim letters: those that another retry has under way are passed over.
    2. Mend and judge each by the catalogue as it is now; what is invalid stays as it is.
    3. Send the others, and wait until Kafka has them.
    4. Mark those that Kafka has, with their new positions.
    5. What is late for a month that only the archive holds is not sent: both layers would refuse it again. `merge`
       brings it into its day's archive in this transaction, so that a letter is marked if and only if it did.
       Where there is no `merge`, or it fails, such letters stay open, and what Kafka has is marked all the same.
    6. Commit.
    Without `send` and `topic` it is a dry run: nothing is sent, nothing changed. Raises BrokerUnavailableError where
    Kafka stops taking them; what it took is marked.
    """
    after: int | None = 0
    while after is not None:
        done: list[Retried] = []
        outage = None
        with transaction(engine) as database:
            letters = claim_letters(database, choice, after, _AT_ONCE)
            after = letters[-1][0] if letters else None
            records, known, late = [], {}, []
            deployment = load_deployment(database)
            validator, floor = replace(deployment, raw_floor=None).validator(), deployment.raw_floor
            for number, payload in letters:
                judged = _judge(database, number, payload, validator, fix, floor)
                if isinstance(judged, Retried):
                    done.append(judged)
                elif isinstance(judged, _Late):
                    late.append(judged)
                else:
                    record, known[number] = judged
                    records.append(record)
            if send is None or topic is None:
                done += [Retried(record.id, Fate.VALID, is_known=known[record.id]) for record in records]
                done += [Retried(one.id, Fate.VALID) for one in late]
            else:
                if records:
                    outcome = send(records)
                    outage = outcome.outage
                    done += _note(database, topic, outcome, known)
                if late:
                    done += _archive(database, late, merge)
        yield from sorted(done, key=lambda one: one.id)
        if outage is not None:
            raise BrokerUnavailableError(
                f"Kafka stopped taking messages: {describe(outage)}.",
                "What it took is marked as sent; try again for the rest when it is back.",
            )


@dataclass(frozen=True, slots=True)
class _Late:
    """A letter with an observation of before the retention floor."""

    id: int
    observation: Observation


def _judge(
    database: sa.Connection, number: int, payload: bytes | None, validator: Validator, fix: Fix, floor: datetime | None
) -> "Retried | _Late | tuple[Record, bool]":
    """What would be sent, and whether its observation is stored already; what is for the archive; or why it is not."""
    try:
        value, observation = judge_again(payload, validator, datetime.now(UTC), fix)
    except InvalidObservationError as error:
        return Retried(number, Fate.INVALID, str(error))
    if floor is not None and observation.timestamp < floor:
        return _Late(number, observation)
    key = {"location": observation.location, "timestamp": observation.timestamp}
    is_known = bool(database.execute(sql("storage/is_known"), key).scalar())
    return Record(number, observation.location.encode(), value), is_known


def _note(database: sa.Connection, topic: Topic, outcome: Outcome, known: Mapping[int, bool]) -> Iterator[Retried]:
    """Mark what Kafka has taken."""
    partitions = register_partitions(database, topic.log_id, topic.name, list(topic.partitions))
    marks = []
    for record in outcome.acknowledged:
        number, offset = outcome.positions.get(record.id, (None, None))
        place = None if number is None else partitions[number]
        marks.append((record.id, place.id if place else None, offset))
        position = place.at(offset) if place is not None and offset is not None else None
        yield Retried(record.id, Fate.SENT, position=position, is_known=known[record.id])
    mark_retried(database, marks)
    for record, error in outcome.refused:
        yield Retried(record.id, Fate.REFUSED, describe(error))


def _archive(database: sa.Connection, late: Sequence[_Late], merge: Merge | None) -> Iterator[Retried]:
    """Bring letters into the archive, and mark them; or none of them, and say why."""
    reason = "it belongs into the archive, and LAMBDA_ARCHIVE_URL is not set here"
    try:
        if merge is not None:
            with database.begin_nested():
                partition, offsets = merge(database, [one.observation for one in late])
                pairs = list(zip(late, offsets, strict=True))
                mark_retried(
                    database, [(one.id, None if offset is None else partition.id, offset) for one, offset in pairs]
                )
            for one, offset in pairs:
                position = None if offset is None else partition.at(offset)
                yield Retried(one.id, Fate.ARCHIVED, position=position, is_known=offset is None)
            return
    except LambdaPipelineError as error:
        reason = str(error)
    for one in late:
        yield Retried(one.id, Fate.REFUSED, reason)


def as_value(text: str) -> Any:
    """The value in `field=value` on a command line: JSON where it is some, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def as_fields(settings: Sequence[str]) -> dict[str, Any]:
    """Fields from several `field=value`. Raises ValueError that says what is wrong."""
    found = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator or name not in FIELDS:
            raise ValueError(f"{setting!r}: write field=value, with one of {', '.join(sorted(FIELDS))}.")
        found[name] = as_value(value)
    return found


def as_payload(content: bytes) -> bytes:
    """A file's content as a message, on one line. Raises ValueError where it is no JSON."""
    try:
        return msgspec.json.format(content, indent=-1)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
