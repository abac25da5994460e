"""Reading a bounded range of the log, for whoever reads it again from a position."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from lambda_pipeline.domain.log import Record
from lambda_pipeline.errors import BrokerUnavailableError
from lambda_pipeline.stream.client import BOOTSTRAP_MS, KafkaConnection, broker_errors, connected
from lambda_pipeline.stream.intake import Intake

_POLL_MS = 1000
_IDLE_MS = 10  # what the client sleeps while nothing is on its way yet, at the start of a read; 100 by default
_IDLE_POLLS = 60  # a minute without a record although there should be some
_INTAKE_BYTES = 32 * 1024 * 1024  # of the values of one batch


@dataclass(frozen=True, slots=True)
class LogBounds:
    """What the log still holds of a partition: offsets [beginning, end)."""

    beginning: int
    end: int


class LogReader:
    """Reads given ranges of a topic's partitions, in no consumer group. Close it, or use it in a with block."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        """Connects at once. Raises BrokerUnavailableError."""
        self._connection = connection
        self._topic = topic
        self._intake = Intake(_INTAKE_BYTES)
        with broker_errors(connection):
            self._consumer: Any = connected(
                KafkaConsumer,
                **connection.client_settings("reader", bootstrap_timeout_ms=BOOTSTRAP_MS),
                value_deserializer=self._intake,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                fetch_max_wait_ms=100,
                retry_backoff_ms=_IDLE_MS,
            )

    def __enter__(self) -> "LogReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def bounds(self, partitions: tuple[int, ...]) -> dict[int, LogBounds]:
        """What the log holds now, by partition."""
        topic_partitions = [TopicPartition(self._topic, number) for number in partitions]
        with broker_errors(self._connection):
            beginning = self._consumer.beginning_offsets(topic_partitions)
            end = self._consumer.end_offsets(topic_partitions)
        return {tp.partition: LogBounds(beginning[tp], end[tp]) for tp in topic_partitions}

    def offsets_at(self, partitions: tuple[int, ...], moment: datetime) -> dict[int, int]:
        """By partition, the offset from which on records are younger than `moment` (aware); the end where none is."""
        milliseconds = int(moment.timestamp() * 1000)
        asked = {TopicPartition(self._topic, number): milliseconds for number in partitions}
        with broker_errors(self._connection):
            found = self._consumer.offsets_for_times(asked)
            end = self._consumer.end_offsets(list(asked))
        return {tp.partition: found[tp].offset if found.get(tp) else end[tp] for tp in asked}

    def read(self, ranges: Mapping[int, tuple[int, int]], max_records: int) -> Iterator[dict[int, list[Record]]]:
        """Batches of records by partition, each partition's in offset order, until every [start, end) is read.

        A batch has at most `max_records`, of 32 MiB or one that is larger. Raises BrokerUnavailableError where the
        broker stops answering before the end.
        """
        with broker_errors(self._connection):
            pending = {
                TopicPartition(self._topic, number): end for number, (start, end) in ranges.items() if start < end
            }
            self._consumer.assign(list(pending))
            self._consumer.resume(*pending)  # an earlier read paused what it was done with
            for tp in pending:
                self._consumer.seek(tp, ranges[tp.partition][0])
            idle = 0
            while pending:
                polled = self._intake.poll(self._consumer, _POLL_MS, max_records)
                batch = {}
                for tp, records in polled.items():
                    within = [record for record in records if record.offset < pending.get(tp, 0)]
                    if within:
                        batch[tp.partition] = within
                idle = 0 if batch else idle + 1
                if idle > _IDLE_POLLS:
                    raise BrokerUnavailableError(f"Kafka sent nothing more of {self._topic} before the range was read.")
                # a position past the end also covers what is no record, e.g. transaction markers
                done = [tp for tp, end in pending.items() if self._consumer.position(tp) >= end]
                for tp in done:
                    del pending[tp]
                self._consumer.pause(*done)
                if batch:
                    yield batch
