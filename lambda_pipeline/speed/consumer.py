"""The speed daemon: a Kafka consumer whose offsets live in PostgreSQL, in the transaction of what they cover."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from lambda_pipeline.domain.log import DeadLetter, Incoming, Record, judge
from lambda_pipeline.domain.observation import Validator
from lambda_pipeline.errors import LogGapError, StaleOffsetsError, TransientError
from lambda_pipeline.speed.commit import MicroBatch, Move, commit_micro_batch, load_offsets
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import is_conflict, transaction
from lambda_pipeline.storage.log_partitions import LogPartition, register_partitions
from lambda_pipeline.stream.client import KafkaConnection, broker_errors
from lambda_pipeline.stream.topic import Topic

logger = logging.getLogger(__name__)
SESSION_MS = 10_000  # after which a consumer that died without leaving loses its partitions to the others
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds between attempts while a server is away


@dataclass(frozen=True, slots=True)
class SpeedOptions:
    """How the daemon batches: the most records of a commit, and the longest wait for the first one (seconds)."""

    group: str
    max_records: int = 5000
    max_wait: float = 0.25


class SpeedDaemon(ConsumerRebalanceListener):  # type: ignore[misc]
    """Consumes the topic into the speed tables until told to stop. Any number of them share a consumer group."""

    def __init__(
        self,
        engine: sa.Engine,
        connection: KafkaConnection,
        topic: Topic,
        options: SpeedOptions,
        on_commit: Callable[[MicroBatch, int], None] | None = None,
    ) -> None:
        """`on_commit` is told of every committed batch and how many observations the speed layer gained."""
        self._engine = engine
        self._connection = connection
        self._topic = topic
        self._options = options
        self._on_commit = on_commit
        self._offsets: dict[int, int] = {}  # partition number: the offset that PostgreSQL has stored for it
        self._partitions: dict[int, LogPartition] = {}
        self._consumer: Any = None
        with transaction(engine) as database:
            self._deployment = load_deployment(database)
        self._validator: Validator = self._deployment.validator()

    def run(self, stop: threading.Event) -> None:
        """Consume until `stop` is set. Raises LogGapError where the log no longer holds the stored offset."""
        with broker_errors(self._connection):
            self._consumer = KafkaConsumer(
                **self._connection.client_settings("speed"),
                group_id=self._options.group,
                enable_auto_commit=False,
                auto_offset_reset="none",
                session_timeout_ms=SESSION_MS,
                heartbeat_interval_ms=SESSION_MS // 4,
                max_poll_records=self._options.max_records,
                fetch_max_wait_ms=100,
                max_partition_fetch_bytes=4 * 1024 * 1024,
            )
        try:
            self._consumer.subscribe([self._topic.name], listener=self)
            while not stop.is_set():
                self._step(stop)
        finally:
            self._consumer.close(autocommit=False)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Forget the partitions: whoever has them next reads their offsets from PostgreSQL."""
        for tp in revoked:
            self._offsets.pop(tp.partition, None)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Hold the partitions until `_take_up` has read their offsets: no server may be asked within a rebalance."""
        for tp in assigned:
            self._offsets.pop(tp.partition, None)
            self._consumer.seek_to_beginning(tp)
            self._consumer.pause(tp)

    def _take_up(self, numbers: list[int]) -> None:
        """Go on from PostgreSQL's offsets, wherever Kafka's group offsets are."""
        with transaction(self._engine) as database:
            self._partitions |= register_partitions(database, self._topic.log_id, self._topic.name, numbers)
        wanted = {number: self._partitions[number] for number in numbers}
        for number, stored in load_offsets(self._engine, wanted).items():
            tp = TopicPartition(self._topic.name, number)
            if stored is None:
                self._consumer.seek_to_beginning(tp)
            else:
                self._consumer.seek(tp, stored)
            self._consumer.resume(tp)
            self._offsets[number] = stored or 0
            logger.info("going on at %s", self._partitions[number].at(stored or 0))

    def _step(self, stop: threading.Event) -> None:
        """Fetch one micro-batch and commit it."""
        try:
            polled = self._consumer.poll(timeout_ms=int(self._options.max_wait * 1000))
        except OffsetOutOfRangeError as error:
            raise LogGapError(
                f"{self._topic.name}: the log no longer holds the offset that the speed layer stopped at: {error}.",
                "Records were deleted before they were consumed, or the topic was cut short.",
            ) from error
        except KafkaError as error:
            logger.warning("waiting: %s", error)
            stop.wait(1.0)
            return
        new = sorted(tp.partition for tp in self._consumer.assignment() if tp.partition not in self._offsets)
        try:
            if new:
                self._take_up(new)
        except TransientError as error:
            for tp, unread in polled.items():  # what was fetched is not consumed: read it again
                self._consumer.seek(tp, unread[0].offset)
            logger.warning("waiting: %s", error)
            stop.wait(1.0)
            return
        held = {number: offset for number, offset in self._offsets.items() if number not in new}
        records = [record for batch in polled.values() for record in batch if record.partition in held]
        if records:
            self._commit(self._judge(records, held), stop)

    def _judge(self, records: list[Record], held: Mapping[int, int]) -> MicroBatch:
        observations: list[Incoming] = []
        dead: list[DeadLetter] = []
        next_offset: dict[int, int] = {}
        for record in records:
            judged = judge(record, self._partitions[record.partition].id, self._validator)
            if isinstance(judged, Incoming):
                observations.append(judged)
            else:
                dead.append(judged)
                where = self._partitions[record.partition].at(record.offset)
                logger.warning("%s is a dead letter: %s", where, judged.error[:300])
            next_offset[record.partition] = record.offset + 1
        moves = tuple(Move(self._partitions[number], held[number], offset) for number, offset in next_offset.items())
        return MicroBatch(tuple(observations), tuple(dead), moves)

    def _commit(self, batch: MicroBatch, stop: threading.Event) -> None:
        """Commit, again and again while PostgreSQL is away or another transaction wins; drop the batch if a zombie."""
        pause = _FIRST_PAUSE
        while not stop.is_set():
            started = time.monotonic()
            try:
                gained = commit_micro_batch(self._engine, batch, self._deployment.timezone)
            except StaleOffsetsError as error:
                logger.warning("%s", error)
                self.on_partitions_assigned(self._consumer.assignment())
                return
            except TransientError as error:
                logger.warning("waiting %.1f s: %s", pause, error)
            except (sa.exc.DBAPIError, psycopg.Error) as error:
                if not is_conflict(error):
                    raise
                logger.info("lost against another transaction, trying again: %s", error)
            else:
                self._committed(batch, gained, time.monotonic() - started)
                return
            self._keep_membership()
            stop.wait(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _committed(self, batch: MicroBatch, gained: int, seconds: float) -> None:
        for move in batch.moves:
            if move.partition.partition in self._offsets:
                self._offsets[move.partition.partition] = move.next
        logger.debug(
            "committed %d observations (%d new), %d dead letters in %.3f s up to %s",
            len(batch.observations),
            gained,
            len(batch.dead_letters),
            seconds,
            ", ".join(move.partition.at(move.next) for move in batch.moves),
        )
        self._consumer.commit_async(  # for the tools that watch lag; nothing of ours reads it
            {
                TopicPartition(self._topic.name, move.partition.partition): OffsetAndMetadata(move.next, "", -1)
                for move in batch.moves
            }
        )
        if self._on_commit is not None:
            self._on_commit(batch, gained)

    def _keep_membership(self) -> None:
        """Let the client heartbeat while a commit waits, without fetching more."""
        assigned = self._consumer.assignment()
        self._consumer.pause(*assigned)
        try:
            for tp, records in self._consumer.poll(timeout_ms=0).items():
                self._consumer.seek(tp, records[0].offset)
        except KafkaError as error:
            logger.warning("Kafka is not answering: %s", error)
        self._consumer.resume(*(tp for tp in self._consumer.assignment() if tp.partition in self._offsets))
