"""Dead letters: records that are no valid observation. Both layers meet the same ones, and each is kept once.

A letter that was sent again (`mark_retried`) stays one: its old position never becomes valid, the new one is a record
like any other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from lambda_pipeline.domain.log import DeadLetter
from lambda_pipeline.storage.sql import sql

RETRIED_DAYS = 7
"""How long a letter that was sent again is kept, so that a second retry is told of the first."""

_INSERT = sa.text(
    "insert into dead_letters (log_partition, log_offset, appended_at, key, payload, error) "
    "values (:log_partition, :log_offset, :appended_at, :key, :payload, :error) "
    "on conflict (log_partition, log_offset) do nothing"
)
_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter as it is kept; instants are aware UTC. `payload` may be its beginning only."""

    id: int
    log_id: UUID
    topic: str
    partition: int
    log_offset: int
    appended_at: datetime
    created_at: datetime
    key: bytes | None
    payload: bytes | None
    payload_bytes: int | None
    error: str
    retried_at: datetime | None
    retried_topic: str | None
    retried_partition: int | None
    retried_offset: int | None

    @property
    def position(self) -> str:
        """Where it is in the log."""
        return f"{self.topic}[{self.partition}]@{self.log_offset}"

    @property
    def retried_position(self) -> str | None:
        """Where it was sent to again."""
        if self.retried_topic is None or self.retried_offset is None:  # not retried, or Kafka did not say where to
            return None
        return f"{self.retried_topic}[{self.retried_partition}]@{self.retried_offset}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant: of these ids, appended since, with this in their reason. None: any."""

    ids: tuple[int, ...] | None = None
    since: datetime | None = None
    reason: str | None = None

    def values(self) -> dict[str, object]:
        """As the statements take it."""
        return {"ids": None if self.ids is None else list(self.ids), "since": self.since, "reason": self.reason}


def insert_dead_letters(connection: sa.Connection, letters: Sequence[DeadLetter]) -> None:
    """Keep dead letters, in position order."""
    if letters:
        connection.execute(_INSERT, [letter._asdict() for letter in sorted(letters, key=lambda letter: letter[:2])])


def find_letters(
    connection: sa.Connection,
    choice: Choice,
    *,
    limit: int | None = None,
    with_retried: bool = False,
    payload_bytes: int | None = None,
) -> list[StoredLetter]:
    """The letters meant, newest first; of their payloads at most the first `payload_bytes`."""
    values = {"limit": limit, "with_retried": with_retried, "bytes": _MOST if payload_bytes is None else payload_bytes}
    rows = connection.execute(sql("storage/find_letters"), {**choice.values(), **values})
    return [StoredLetter(*row) for row in rows]


def letters_at(connection: sa.Connection, topic: str, partition: int, offset: int) -> list[int]:
    """The ids of the letters at a position: several where the topic had several lives."""
    values = {"topic": topic, "partition": partition, "offset": offset}
    return list(connection.execute(sql("storage/letters_at"), values).scalars())


def claim_letters(connection: sa.Connection, choice: Choice, after: int, limit: int) -> list[tuple[int, bytes | None]]:
    """(id, payload) of the next open letters above an id, locked for this transaction; those that others hold not."""
    values = {**choice.values(), "after": after, "limit": limit}
    return [(row.id, row.payload) for row in connection.execute(sql("storage/claim_letters"), values)]


def mark_retried(connection: sa.Connection, sent: Iterable[tuple[int, int | None, int | None]]) -> None:
    """Note that letters were sent again: (id, log partition, offset there) of each."""
    rows = [{"id": number, "partition": partition, "offset": offset} for number, partition, offset in sent]
    if rows:
        connection.execute(sql("storage/mark_retried"), rows)


def prune_letters(connection: sa.Connection, days: int, limit: int) -> int:
    """Remove letters that are older than so many days, or were sent again a while ago; returns how many.

    None that a layer may still meet in the log, however old: see the statement.
    """
    values = {"days": days, "retried_days": min(RETRIED_DAYS, days), "limit": limit}
    return connection.execute(sql("storage/prune_letters"), values).rowcount
