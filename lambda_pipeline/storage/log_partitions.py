"""Log partitions: the small integers that stand for (topic UUID, partition) in every position."""

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

IMPORT_LOG = UUID(int=0)  # file imports are a log of their own, of one partition


@dataclass(frozen=True, slots=True)
class LogPartition:
    """One partition of one incarnation of a topic; `id` is what rows carry."""

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
    """
    wanted = sa.text("select id, log_id, topic, partition from log_partitions where log_id = :log_id")
    known = {row.partition: row for row in connection.execute(wanted, {"log_id": log_id})}
    missing = sorted(set(partitions) - set(known))
    if missing:
        connection.execute(
            sa.text(
                "insert into log_partitions (log_id, topic, partition) values (:log_id, :topic, :partition) "
                "on conflict (log_id, partition) do nothing"
            ),
            [{"log_id": log_id, "topic": topic, "partition": partition} for partition in missing],
        )
        known = {row.partition: row for row in connection.execute(wanted, {"log_id": log_id})}
    return {number: LogPartition(*known[number]) for number in partitions}


def other_logs(connection: sa.Connection, log_id: UUID, topic: str) -> list[LogPartition]:
    """The log partitions of a topic's other incarnations, in the order in which they were met."""
    query = sa.text(
        "select id, log_id, topic, partition from log_partitions where topic = :topic and log_id <> :log_id order by id"
    )
    return [LogPartition(*row) for row in connection.execute(query, {"topic": topic, "log_id": log_id})]


def import_partition(connection: sa.Connection) -> LogPartition:
    """The log partition of file imports."""
    return register_partitions(connection, IMPORT_LOG, "import", [0])[0]
