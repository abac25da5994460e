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

from lambda_pipeline.errors import LogGapError
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.engine import retrying, transaction
from lambda_pipeline.storage.log_partitions import LogPartition, register_partitions, renew_partition
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogBounds, LogReader
from lambda_pipeline.stream.topic import Topic

logger = logging.getLogger(__name__)
ResetTo = Literal["earliest", "latest"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A partition whose next offset, `stored`, the log does not hold."""

    partition: LogPartition
    stored: int
    bounds: LogBounds

    @property
    def is_cut_short(self) -> bool:
        """Whether the log ends before the offset, not after it."""
        return self.stored > self.bounds.end

    def __str__(self) -> str:
        if self.is_cut_short:
            return (
                f"{self.partition.at(self.stored)} was to be read next, but the log was cut short and ends at "
                f"{self.bounds.end}"
            )
        lost = self.bounds.beginning - self.stored
        return (
            f"{self.partition.at(self.stored)} to {self.bounds.beginning} ({lost} records) left the log before the "
            "speed layer read them"
        )


def find_gaps(
    partitions: Mapping[int, LogPartition], stored: Mapping[int, int | None], bounds: Mapping[int, LogBounds]
) -> list[Gap]:
    """The partitions (by number) whose stored offset is outside of what the log holds."""
    return [
        Gap(partition, offset, bounds[number])
        for number, partition in sorted(partitions.items())
        if (offset := stored.get(number)) is not None and not bounds[number].beginning <= offset <= bounds[number].end
    ]


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


def reset_offsets(engine: sa.Engine, connection: KafkaConnection, topic: Topic, to: ResetTo) -> list[str]:
    """Set the offsets that the log does not hold, or that were never set, to its beginning or its end.

    Whatever is passed over is noted in `log_gaps`. Offsets that the log holds stay. A partition that was cut short
    goes on as another incarnation, for both layers. Returns a sentence for each partition that was changed. Raises
    BrokerUnavailableError, DatabaseUnavailableError.
    """
    with LogReader(connection, topic.name) as reader:
        bounds = reader.bounds(topic.partitions)

    def reset() -> list[str]:
        with transaction(engine) as database:
            locks.hold_raw(database)  # a run of the batch layer would go on with the partition that is replaced here
            partitions = register_partitions(database, topic.log_id, topic.name, list(topic.partitions))
            done = [_reset_partition(database, partitions[number], bounds[number], to) for number in topic.partitions]
        return [sentence for sentence in done if sentence]

    return retrying(reset)


def _reset_partition(database: sa.Connection, partition: LogPartition, bounds: LogBounds, to: ResetTo) -> str:
    stored, frontier = _offset(database, "stream_offsets", partition), _offset(database, "raw_frontier", partition)
    target = bounds.beginning if to == "earliest" else bounds.end
    if max(stored or 0, frontier or 0) > bounds.end:
        renewed = renew_partition(database, partition)
        note_gap(database, partition, bounds.end, stored or 0, "read before the log was cut short, and cut off by it")
        if to == "latest":
            _set_offset(database, renewed, target)
        return f"{partition.topic}[{partition.partition}] was cut short at {bounds.end}; it goes on at {target} anew"
    if stored is None and to == "latest":
        note_gap(database, partition, bounds.beginning, target, "passed over by --reset-to latest")
    elif stored is not None and stored < bounds.beginning:
        note_gap(database, partition, stored, bounds.beginning, "left the log before the speed layer read them")
        note_gap(database, partition, bounds.beginning, target, "passed over by --reset-to latest")
    else:
        return ""
    _set_offset(database, partition, target)
    return f"{partition.topic}[{partition.partition}] goes on at {target}, not at {stored or 0}"


def _offset(database: sa.Connection, table: str, partition: LogPartition) -> int | None:
    query = sa.text(f"select next_offset from {table} where log_partition = :partition")  # noqa: S608 - two constants
    found: int | None = database.execute(query, {"partition": partition.id}).scalar()
    return found


def _set_offset(database: sa.Connection, partition: LogPartition, offset: int) -> None:
    database.execute(
        sa.text(
            "insert into stream_offsets (log_partition, next_offset) values (:partition, :offset) "
            "on conflict (log_partition) do update set next_offset = excluded.next_offset, updated_at = now()"
        ),
        {"partition": partition.id, "offset": offset},
    )
