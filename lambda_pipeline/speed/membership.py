"""The daemon's place in its consumer group: which partitions are its own, and where each of them goes on.

The group hands partitions out, and PostgreSQL says where they go on: Kafka's group offsets are written for the tools
that watch lag and never read. Rebalances are cooperative, so a partition that stays goes on without a pause.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import CorruptRecordError, KafkaError, UnsupportedCodecError

from lambda_pipeline.domain.log import Record
from lambda_pipeline.errors import BrokerUnavailableError, CorruptLogError, TopicRecreatedError
from lambda_pipeline.speed.gaps import find_gap, gap_error, recreation_error
from lambda_pipeline.speed.group_offsets import GroupOffsets
from lambda_pipeline.speed.metrics import Standing
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.log_partitions import LogPartition, Position, mark_cut, positions, register_partitions
from lambda_pipeline.stream.client import KafkaConnection, broker_errors, connected
from lambda_pipeline.stream.intake import Intake
from lambda_pipeline.stream.reader import LogBounds
from lambda_pipeline.stream.topic import Topic

logger = logging.getLogger(__name__)
SESSION_MS = 6_000  # after which one that died without leaving loses its partitions; the least that brokers grant
_METADATA_MS = 30_000  # after which new partitions are noticed at the latest
_RECONNECT_MS = 2_000  # the longest pause between attempts while the broker is away
_ABSENT_MS = 60_000  # after which one that does not poll holds up a rebalance no longer
_BOOTSTRAP_MS = 3_000
_TRY_AGAIN_SECONDS = 5.0
_ASK_SECONDS = 1.0  # for a question to the broker; asked again if it takes longer
_OVERDUE_PAUSE = 0.05  # seconds between two looks at what came while a heartbeat is not answered
_FETCH_BYTES = 16 * 1024 * 1024  # of all partitions together, as the log holds them
_INTAKE_BYTES = 4 * 1024 * 1024  # of values, unpacked


class Membership(ConsumerRebalanceListener):  # type: ignore[misc]
    """A consumer of the topic, and the positions of its partitions. Used by one thread, but for the callbacks.

    Kafka's client calls the listener from its own thread and must not be kept waiting there, so the callbacks only
    take notes, which `sync` acts on.
    """

    def __init__(self, engine: sa.Engine, connection: KafkaConnection, topic: Topic, group: str) -> None:
        """Joins the group. Raises BrokerUnavailableError."""
        self._engine = engine
        self._connection = connection
        self._topic = topic
        self._next: dict[int, int] = {}  # partition number: the offset after the last record handed out
        self._stored: dict[int, int] = {}  # of the same: what is committed
        self._ends: dict[int, int] = {}  # of the same: the log's end, where somebody asked
        self._partitions: dict[int, LogPartition] = {}
        self._lock = threading.Lock()
        self._taken: set[int] = set()  # numbers that a rebalance took away, or gave anew
        self._is_known = False  # whether the broker has named the topic
        self._try_again = 0.0  # when to ask again about partitions that the broker said nothing about
        self._assignor = CooperativeStickyAssignor()
        self._intake = Intake(_INTAKE_BYTES)
        with broker_errors(connection):
            self._consumer: Any = connected(
                KafkaConsumer,
                **connection.client_settings("speed"),
                value_deserializer=self._intake,
                group_id=group,
                partition_assignment_strategy=(self._assignor,),
                enable_auto_commit=False,
                auto_offset_reset="none",
                session_timeout_ms=SESSION_MS,
                heartbeat_interval_ms=SESSION_MS // 4,
                max_poll_interval_ms=_ABSENT_MS,
                bootstrap_timeout_ms=_BOOTSTRAP_MS,
                metadata_max_age_ms=_METADATA_MS,
                reconnect_backoff_max_ms=_RECONNECT_MS,
                fetch_max_wait_ms=100,
                fetch_max_bytes=_FETCH_BYTES,
                max_partition_fetch_bytes=_FETCH_BYTES // 4,
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
            self._consumer.subscribe([topic.name], listener=self)
        self._offsets = GroupOffsets(self._consumer, topic.name)
        logger.info("consuming %s as a member of the group %s", topic.name, group)

    # -- called by Kafka's client, from its thread

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """The group takes partitions away."""
        with self._lock:
            self._taken.update(tp.partition for tp in revoked)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """The group gave this member up. It may not claim its old partitions when it joins again.

        kafka-python would, and a partition claimed by a member that nobody expects back stays with nobody.
        """
        self._assignor.member_assignment = None
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """The group hands partitions out: hold them until `take_up` knows where they go on."""
        for tp in assigned:
            self._consumer.seek_to_beginning(tp)
            self._consumer.pause(tp)
        with self._lock:
            self._taken.update(tp.partition for tp in assigned)

    # -- called by the daemon

    def poll(self, seconds: float, max_records: int) -> list[tuple[LogPartition, list[Record]]]:
        """The next records of this consumer's partitions, some megabytes of values at most.

        Raises TopicRecreatedError, CorruptLogError, BrokerUnavailableError, KafkaError.
        """
        self._require_same_log()  # before the poll: what that has brought counts as read, whatever is raised after it
        self._finish_join()
        try:
            polled = self._patiently(
                lambda part: self._intake.poll(self._consumer, int(part * 1000), max_records), seconds
            )
        except (CorruptRecordError, UnsupportedCodecError) as error:
            # The client would look at that batch for ever: it is not to be asked again.
            advice = "Restart it; if that does not help, a broker's disk has lost data."
            if isinstance(error, UnsupportedCodecError):
                advice = "Install the Python library for it (lz4, python-snappy, zstandard), or let producers use gzip."
            raise CorruptLogError(f"{self._topic.name}: {error}", advice) from error
        self._require_old_log()
        return [
            (self._partitions[tp.partition], records)
            for tp, records in polled.items()
            if tp.partition in self._next
            and tp.partition not in self._taken
            and records[0].offset >= self._next[tp.partition]
        ]

    def keep(self, seconds: float) -> None:
        """Stay a member for so long while nothing can be taken in: no records come. Raises KafkaError."""
        held = [TopicPartition(self._topic.name, number) for number in self._next]
        assigned = self._consumer.assignment()
        self._consumer.pause(*(tp for tp in held if tp in assigned))
        self._finish_join()
        try:
            self._patiently(lambda part: self._consumer.poll(timeout_ms=int(part * 1000)), seconds)
        finally:
            assigned = self._consumer.assignment()
            with self._lock:
                self._consumer.resume(*(tp for tp in held if tp in assigned and tp.partition not in self._taken))

    def sync(self) -> frozenset[int]:
        """Let go of what a rebalance took away; returns the log partitions (ids) concerned."""
        with self._lock:
            taken, self._taken = self._taken, set()
        gone = [number for number in taken if self._next.pop(number, None) is not None]
        self._offsets.forget(gone)
        for number in sorted(gone):
            logger.info("%s[%d] is given away", self._topic.name, number)
        return frozenset(self._partitions[number].id for number in gone)

    def let_go(self, partitions: frozenset[int]) -> None:
        """Hold log partitions (ids) that another consumer moved on, until they are taken up again."""
        assigned = self._consumer.assignment()
        for number in [number for number in self._next if self._partitions[number].id in partitions]:
            del self._next[number]
            self._offsets.forget([number])
            tp = TopicPartition(self._topic.name, number)
            if tp in assigned:
                self._consumer.pause(tp)

    def let_go_moved(self) -> None:
        """Hold partitions that PostgreSQL has elsewhere than this consumer left them, until they are taken up again.

        To be called when all that was handed out is committed. Raises DatabaseUnavailableError.
        """
        held = {self._partitions[number].id: number for number in self._next}
        with transaction(self._engine, read_only=True) as database:
            found = positions(database, (self._partitions[number] for number in held.values()))
        stored = {partition: position.stored or 0 for partition, position in found.items()}
        moved = frozenset(
            partition for partition, number in held.items() if stored.get(partition) != self._next[number]
        )
        for number in sorted(held[partition] for partition in moved):
            logger.warning("%s is not where PostgreSQL is", self._partitions[number].at(self._next[number]))
        self.let_go(moved)

    def let_go_all(self) -> frozenset[int]:
        """Hold all partitions until they are taken up again; returns their log partition ids."""
        ids = frozenset(self._partitions[number].id for number in self._next)
        self.let_go(ids)
        return ids

    def take_up(self) -> None:
        """Go on with newly assigned partitions where PostgreSQL says, wherever Kafka's group offsets are.

        A partition about which the broker says nothing yet, since it has no leader, is tried again later. Raises
        LogGapError where the log does not hold the offset; BrokerUnavailableError, DatabaseUnavailableError.
        """
        new = sorted(tp.partition for tp in self._consumer.assignment() if tp.partition not in self._next)
        if not new or (self._next and time.monotonic() < self._try_again):
            return
        with transaction(self._engine) as database:
            self._partitions |= register_partitions(database, self._topic.log_id, self._topic.name, new)
            found = positions(database, (self._partitions[number] for number in new))
        bounds = self._bounds(new)  # after the positions: the log only grows meanwhile
        read = {number: found[self._partitions[number].id] for number in bounds}
        self._require_no_gap(read, bounds)
        assigned = self._consumer.assignment()
        for number, position in read.items():
            tp = TopicPartition(self._topic.name, number)
            if tp in assigned:
                start = bounds[number].beginning if position.stored is None else position.stored
                self._consumer.seek(tp, start)
                self._consumer.resume(tp)
                self._next[number] = position.stored or 0
                self._stored[number] = start
                self._ends.pop(number, None)
                logger.info("going on at %s", self._partitions[number].at(start))
                if position.stored is not None:  # whoever had it before may have died without telling Kafka
                    self._offsets.note({number: position.stored})

    def _require_no_gap(self, read: dict[int, Position], bounds: dict[int, LogBounds]) -> None:
        gaps = [find_gap(self._partitions[number], read[number], bounds[number]) for number in sorted(read)]
        if any(gaps):
            raise gap_error(gap for gap in gaps if gap is not None)

    @property
    def has_new(self) -> bool:
        """Whether there are partitions to be taken up."""
        return any(tp.partition not in self._next for tp in self._consumer.assignment())

    @property
    def holds(self) -> int:
        """How many partitions it goes on with."""
        return len(self._next)

    def expected(self, partition: LogPartition) -> int | None:
        """What PostgreSQL has stored once all that was handed out is committed; None if the partition is not held."""
        return self._next.get(partition.partition)

    def advance(self, partition: LogPartition, offset: int) -> None:
        """Note that the records of a partition below `offset` were handed out."""
        self._next[partition.partition] = offset

    def explain_refusal(self, cut: Mapping[int, int]) -> frozenset[int]:
        """After the broker refused an offset: start over with all partitions, and return their ids.

        `cut` is where the logs of partitions (by number) are known to have been cut short. To be called when all that
        was handed out is committed. Raises LogGapError that says what is missing where it is, TopicRecreatedError,
        BrokerUnavailableError, DatabaseUnavailableError.
        """
        self.refresh()  # a topic that was made anew refuses the old one's offsets as well, and was not cut short
        held = {number: self._partitions[number] for number in sorted(self._next)}
        with transaction(self._engine) as database:
            for number, offset in cut.items():
                if number in held:
                    mark_cut(database, held[number], offset)
            found = positions(database, held.values())
        bounds = self._bounds(list(held))
        self._require_no_gap({number: found[held[number].id] for number in bounds}, bounds)
        return self.let_go_all()

    def note_stored(self, offsets: Mapping[int, int]) -> None:
        """How far partitions (by number) are stored, for the tools that watch lag; those not held any more are not."""
        held = {number: offset for number, offset in offsets.items() if number in self._next}
        self._offsets.note(held)
        self._stored |= held

    def report(self) -> None:
        """Tell those tools, every now and then."""
        self._offsets.report()

    def standing(self, *, ask: bool) -> dict[int, Standing]:
        """Where the partitions that it goes on with stand, by number, as fetching told it.

        With `ask` the broker is asked for the logs' ends: while nothing is fetched, nobody else tells.
        """
        held = {number: TopicPartition(self._topic.name, number) for number in self._next}
        if ask and held:
            with suppress(KafkaError, KeyError):  # as in _bounds
                ends = self._consumer.end_offsets(list(held.values()), timeout_ms=_ASK_SECONDS * 1000)
                self._ends |= {tp.partition: end for tp, end in ends.items()}
        return {number: Standing(self._stored[number], self._end(tp)) for number, tp in held.items()}

    def _end(self, tp: TopicPartition) -> int | None:
        """The end of a partition's log, as it was last heard of: it only grows."""
        fetched = None
        with suppress(KafkaError, KeyError):  # a rebalance is taking it away just now
            fetched = self._consumer.highwater(tp)
        known = [end for end in (fetched, self._ends.get(tp.partition)) if end is not None]
        return max(known, default=None)

    def refresh(self) -> None:
        """Ask the broker about the topic, after a time without fetching. Raises what `poll` does."""
        for _ in range(2):  # a question under way may have been asked before that time
            asked = self._consumer._cluster.request_update()
            deadline = time.monotonic() + _ASK_SECONDS / 2
            while not asked.is_done and time.monotonic() < deadline:
                time.sleep(0.01)
            if not asked.succeeded():
                raise BrokerUnavailableError(f"Kafka at {self._connection.bootstrap_servers} is not answering.")
        self._require_same_log()

    def close(self, seconds: float) -> None:
        """Leave the group within about `seconds`; the last offsets go to Kafka if it answers.

        A client that does not come to rest is left alone: kafka-python 3.0 ends its own thread without a limit, which
        in the midst of a rebalance may wait for ever. Its group notices when the session is over.
        """
        leaving = threading.Thread(target=self._leave, args=(seconds,), name="leave", daemon=True)
        leaving.start()
        leaving.join(2 * seconds)
        if leaving.is_alive():
            logger.warning("Kafka's client does not come to rest: it is left alone. Nothing of it is needed any more.")

    def _leave(self, seconds: float) -> None:
        self._offsets.close(seconds / 2)
        try:
            self._consumer.close(autocommit=False, timeout_ms=seconds * 500)
        except KafkaError as error:
            logger.info("the group is left without a word: %s", error)

    def _bounds(self, numbers: list[int]) -> dict[int, LogBounds]:
        """What the log holds of partitions, leaving out those that have no leader just now."""
        bounds = {}
        for number in numbers:
            tp = TopicPartition(self._topic.name, number)
            try:
                beginning = self._consumer.beginning_offsets([tp], timeout_ms=_ASK_SECONDS * 1000)
                end = self._consumer.end_offsets([tp], timeout_ms=_ASK_SECONDS * 1000)
                bounds[number] = LogBounds(beginning[tp], end[tp])
            except (KafkaError, KeyError) as error:  # KeyError: kafka-python passes over what has no leader
                self._try_again = time.monotonic() + _TRY_AGAIN_SECONDS
                text = f"Kafka does not say what {tp.topic}[{number}] holds: {type(error).__name__} {error}."
                if not self._next and not bounds:
                    raise BrokerUnavailableError(text) from error
                logger.warning("%s It is asked again.", text)
                if isinstance(error, KafkaError):
                    break  # it would keep the other partitions waiting as well
        return bounds

    def _patiently(self, poll: Callable[[float], Any], seconds: float) -> Any:
        """What a poll of at most so many seconds gives, without the client's busy waiting.

        While a heartbeat is due, kafka-python 3.0 waits for nothing, so that the heartbeat is not late. If the broker
        does not answer the last one, it polls 4,000 times a second, and each of them leaves 6 KB for the collector. A
        member that joins does wait, and must: its join goes on only while it polls.
        """
        coordinator = self._consumer._coordinator
        if coordinator.need_rejoin() or not coordinator.stable():
            return poll(seconds)
        left = coordinator.time_to_next_poll()
        if left > 0:
            return poll(min(seconds, left))
        polled = poll(0)
        if not polled:
            time.sleep(min(seconds, _OVERDUE_PAUSE))
        return polled

    def _finish_join(self) -> None:
        """Join again where the client would never look at the answer to its last attempt.

        kafka-python 3.0 waits for a join within a poll only as long as that polls. If the answer comes between two
        polls, and the reason for the join was new metadata, the answer itself takes that reason away: the next poll
        sees nothing to do, and the member stays without partitions and heartbeats for ever.
        """
        coordinator = self._consumer._coordinator
        join = coordinator._join_task
        if join is not None and join.is_done and not coordinator.need_rejoin():
            coordinator.request_rejoin()

    def _require_same_log(self) -> None:
        """Raise TopicRecreatedError if the topic was recreated, BrokerUnavailableError if it is gone for now."""
        if self._require_old_log():
            self._is_known = True
        elif self._is_known:
            raise BrokerUnavailableError(f"topic {self._topic.name} is not there any more.", "Was it deleted?")

    def _require_old_log(self) -> bool:
        """Raise TopicRecreatedError if the broker names another log; whether it names any."""
        found = self._consumer._cluster.topic_id(self._topic.name)
        if found not in (None, self._topic.log_id):
            raise TopicRecreatedError(f"topic {self._topic.name} was deleted and created anew while it was consumed.")
        return found is not None

    def explain_recreation(self) -> TopicRecreatedError:
        """What of the old log was not consumed, which is noted as a gap. To be called when nothing is uncommitted."""
        assigned = self._consumer.assignment()
        named = {number: TopicPartition(self._topic.name, number) for number in self._partitions}
        ends = {number: self._consumer.highwater(tp) for number, tp in named.items() if tp in assigned}
        return recreation_error(self._engine, self._topic, self._partitions, ends)
