"""Where the log no longer holds what the speed layer would consume next, and the ways to go on.

Two things can happen to a log that keeps its identity. Its beginning can pass the stored offset, by retention or
`kafka-delete-records`: what lay between is gone. Or it can be cut short, by an unclean election of a leader or a disk
restored from a backup: its end lies before the stored offset, and the offsets in between will be given to other
records. Both stop the daemon, and an operator decides.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from lambda_pipeline.errors import LogGapError, StaleOffsetsError, TopicRecreatedError
from lambda_pipeline.speed.commit import load_offsets
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.engine import retrying, transaction
from lambda_pipeline.storage.log_partitions import (
    LogPartition,
    Position,
    mark_cut,
    positions,
    register_partitions,
    renew_partition,
)
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogBounds, LogReader
from lambda_pipeline.stream.topic import Topic

logger = logging.getLogger(__name__)
ResetTo = Literal["earliest", "latest"]
_PASSED_OVER = "passed over by --reset-to latest"


@dataclass(frozen=True, slots=True)
class Gap:
    """A partition with which the speed layer cannot go on."""

    partition: LogPartition
    position: Position
    bounds: LogBounds

    def __str__(self) -> str:
        position, where = self.position, f"{self.partition.topic}[{self.partition.partition}]"
        if position.is_cut(self.bounds.end):
            read = max(position.stored or 0, position.frontier or 0)
            cut_at = self.bounds.end if position.cut_at is None else position.cut_at
            return f"{where} was read up to {read}, but its log was cut short at {cut_at}"
        stored = position.stored or 0
        return (
            f"{self.partition.at(stored)} to {self.bounds.beginning} ({self.bounds.beginning - stored} records) left "
            "the log before the speed layer read them"
        )


def find_gap(partition: LogPartition, position: Position, bounds: LogBounds) -> Gap | None:
    """Whether the log does not hold what the speed layer would read next. `position` is the older of the two."""
    is_before = position.stored is not None and position.stored < bounds.beginning
    return Gap(partition, position, bounds) if is_before or position.is_cut(bounds.end) else None


def gap_error(gaps: Iterable[Gap]) -> LogGapError:
    """The error that stops the daemon: what was lost, and how to go on."""
    return LogGapError(
        "; ".join(str(gap) for gap in gaps) + ".",
        "Run `lambda-pipeline speed --reset-to earliest` to go on with what the log still holds, or "
        "`--reset-to latest` to go on with new records only (the batch layer reads the others). What is passed over "
        "is noted in log_gaps.",
    )


def note_gap(database: sa.Connection, partition: LogPartition, start: int, end: int, reason: str) -> None:
    """Note that the speed layer never consumed [start, end) of a partition."""
    if start < end:
        database.execute(
            sa.text(
                "insert into log_gaps (log_partition, from_offset, to_offset, layer, reason) "
                "values (:partition, :start, :end, 'speed', :reason) "
                "on conflict (log_partition, from_offset, layer) do update "
                "set to_offset = greatest(log_gaps.to_offset, excluded.to_offset)"
            ),
            {"partition": partition.id, "start": start, "end": end, "reason": reason},
        )


def recreation_error(
    engine: sa.Engine, topic: Topic, partitions: Mapping[int, LogPartition], ends: Mapping[int, int | None]
) -> TopicRecreatedError:
    """The error that stops the daemon when its topic is another one now, once what was lost is noted.

    `partitions` are the old log's by number, `ends` where it is known to have ended.
    """
    lost = []
    stored = load_offsets(engine, partitions)
    with transaction(engine) as database:
        for number, partition in sorted(partitions.items()):
            offset, end = stored.get(number) or 0, ends.get(number)
            if end is not None and end > offset:
                note_gap(database, partition, offset, end, "the topic was recreated before they were consumed")
                lost.append(f"{partition.at(offset)} to {end}")
    what = f"what was not consumed of it is gone ({', '.join(lost)})" if lost else "all that was seen was consumed"
    return TopicRecreatedError(
        f"topic {topic.name} was deleted and created anew while it was consumed; of the old log {what}.",
        "Start `lambda-pipeline speed` again: the new topic is a new log and is read from its start, or with "
        "`--reset-to latest` from its end.",
    )


def reset_offsets(engine: sa.Engine, connection: KafkaConnection, topic: Topic, to: ResetTo) -> list[str]:
    """Set the offsets that the log does not hold, or that were never set, to its beginning or its end.

    Whatever is passed over is noted in `log_gaps`. Offsets that the log holds stay. A partition that was cut short
    goes on as another incarnation, for both layers. Returns a sentence for each partition that was changed. Raises
    BrokerUnavailableError, DatabaseUnavailableError.
    """
    with LogReader(connection, topic.name) as reader:

        def reset() -> list[str]:
            with transaction(engine) as database:
                locks.hold_raw(database)  # a batch run would go on with the partition that is replaced here
                partitions = register_partitions(database, topic.log_id, topic.name, list(topic.partitions))
                found = positions(database, partitions.values())
                bounds = reader.bounds(topic.partitions)  # after the positions: the log only grows meanwhile
                done = [
                    _reset_partition(database, partitions[number], found[partitions[number].id], bounds[number], to)
                    for number in topic.partitions
                ]
            return [sentence for sentence in done if sentence]

        return retrying(reset)


def _reset_partition(
    database: sa.Connection, partition: LogPartition, position: Position, bounds: LogBounds, to: ResetTo
) -> str:
    stored, target = position.stored, bounds.beginning if to == "earliest" else bounds.end
    where = f"{partition.topic}[{partition.partition}]"
    if position.is_cut(bounds.end):
        mark_cut(database, partition, bounds.end if position.cut_at is None else position.cut_at)
        renewed = renew_partition(database, partition)
        if to == "latest":
            note_gap(database, renewed, bounds.beginning, target, _PASSED_OVER)
            _set_offset(database, renewed, None, target)
        return f"{where} was cut short; it goes on at {target} as a new log"
    if stored is None and to == "latest":
        note_gap(database, partition, bounds.beginning, target, _PASSED_OVER)
    elif stored is not None and stored < bounds.beginning:
        note_gap(database, partition, stored, bounds.beginning, "left the log before the speed layer read them")
        note_gap(database, partition, bounds.beginning, target, _PASSED_OVER)
    else:
        return ""
    _set_offset(database, partition, stored, target)
    return f"{where} goes on at {target}, not at {stored or 0}"


def _set_offset(database: sa.Connection, partition: LogPartition, expected: int | None, offset: int) -> None:
    """Compare and swap, as a commit does: a daemon that runs meanwhile may have gone on."""
    moved = database.execute(
        sa.text(
            "insert into stream_offsets as stored (log_partition, next_offset) values (:partition, :offset) "
            "on conflict (log_partition) do update set next_offset = excluded.next_offset, updated_at = now() "
            "where stored.next_offset = :expected"
        ),
        {"partition": partition.id, "offset": offset, "expected": expected},
    )
    if moved.rowcount != 1:
        raise StaleOffsetsError(
            f"{partition.at(expected or 0)} was just consumed.", "Another daemon reads it: try again."
        )
