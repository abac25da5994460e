"""Log partitions: the small integers that stand for (topic UUID, partition) in every position."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from uuid import UUID

import sqlalchemy as sa

IMPORT_LOG = UUID(int=0)  # file imports are a log of their own, of one partition


@dataclass(frozen=True, slots=True)
class LogPartition:
    """One partition of one incarnation of a log; `id` is what rows carry."""

    id: int
    log_id: UUID
    topic: str
    partition: int

    def at(self, offset: int) -> str:
        """How a position is written in logs and errors."""
        return f"{self.topic}[{self.partition}]@{offset}"


def register_partitions(
    connection: sa.Connection, log_id: UUID, topic: str, partitions: list[int]
) -> dict[int, LogPartition]:
    """The log partitions of a topic by partition number, registering those that are new.

    A recreated topic has another `log_id` and so gets partitions of its own: its offsets never compare with the old.
    Of a partition that was cut short it is the newest incarnation (`renew_partition`).
    """
    known = known_partitions(connection, log_id)
    missing = sorted(set(partitions) - set(known))
    if missing:
        connection.execute(
            sa.text(
                "insert into log_partitions (log_id, topic, partition) values (:log_id, :topic, :partition) "
                "on conflict (log_id, partition, incarnation) do nothing"
            ),
            [{"log_id": log_id, "topic": topic, "partition": partition} for partition in missing],
        )
        known = known_partitions(connection, log_id)
    return {number: known[number] for number in partitions}


def known_partitions(connection: sa.Connection, log_id: UUID) -> dict[int, LogPartition]:
    """The registered partitions of a log by partition number, of each its newest incarnation."""
    query = sa.text(
        "select distinct on (partition) id, log_id, topic, partition from log_partitions where log_id = :log_id "
        "order by partition, incarnation desc"
    )
    return {row.partition: LogPartition(*row) for row in connection.execute(query, {"log_id": log_id})}


def renew_partition(connection: sa.Connection, partition: LogPartition) -> LogPartition:
    """Another incarnation of a partition whose log was cut short: its offsets from there on mean other records."""
    renewed = connection.execute(
        sa.text(
            "insert into log_partitions (log_id, topic, partition, incarnation) "
            "select log_id, topic, partition, max(incarnation) + 1 from log_partitions "
            "where log_id = :log_id and partition = :partition group by log_id, topic, partition returning id"
        ),
        {"log_id": partition.log_id, "partition": partition.partition},
    ).scalar_one()
    return replace(partition, id=renewed)


def mark_cut(connection: sa.Connection, partition: LogPartition, offset: int) -> None:
    """Note that a partition's log was cut short, so that nobody goes on with it before it is renewed."""
    connection.execute(
        sa.text("update log_partitions set cut_at = :offset where id = :id"), {"id": partition.id, "offset": offset}
    )


def positions(connection: sa.Connection, partitions: Iterable[LogPartition]) -> dict[int, "Position"]:
    """How far both layers have read, and whether the log is known to have been cut, by log partition id."""
    rows = connection.execute(
        sa.text(
            "select p.id, o.next_offset as stored, f.next_offset as frontier, p.cut_at from log_partitions p "
            "left join stream_offsets o on o.log_partition = p.id left join raw_frontier f on f.log_partition = p.id "
            "where p.id = any(:ids)"
        ),
        {"ids": [partition.id for partition in partitions]},
    )
    return {row.id: Position(row.stored, row.frontier, row.cut_at) for row in rows}


@dataclass(frozen=True, slots=True)
class Position:
    """How far a log partition was read: the next offsets of the speed layer and of raw_data, None where never read.

    To be asked before the log is asked for its end, never after: others go on reading meanwhile.
    """

    stored: int | None
    frontier: int | None
    cut_at: int | None

    def is_cut(self, end: int) -> bool:
        """Whether the log, which ends at `end`, was cut short: its next records get offsets that were read already.

        One rule for both layers, or one of them would take new records for those that the other has read.
        """
        return self.cut_at is not None or max(self.stored or 0, self.frontier or 0) > end


def other_logs(connection: sa.Connection, log_id: UUID, topic: str) -> list[LogPartition]:
    """The log partitions of a topic that no reader reads any more, in the order in which they were met.

    Those of its earlier lives, and the earlier incarnations of partitions that were cut short.
    """
    query = sa.text(
        "select id, log_id, topic, partition from log_partitions old where topic = :topic and (log_id <> :log_id or "
        "exists (select from log_partitions newer where newer.log_id = old.log_id "
        "and newer.partition = old.partition and newer.incarnation > old.incarnation)) order by id"
    )
    return [LogPartition(*row) for row in connection.execute(query, {"topic": topic, "log_id": log_id})]


def import_partition(connection: sa.Connection) -> LogPartition:
    """The log partition of file imports."""
    return register_partitions(connection, IMPORT_LOG, "import", [0])[0]
