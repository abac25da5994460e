"""The speed daemon: a Kafka consumer whose offsets live in PostgreSQL, in the transaction of what they cover.

This thread fetches and judges; the committer's commit. So the next batch is ready when PostgreSQL is done with the last
one, and batches size themselves: what came during a commit is the next one, a single record when it is quiet,
`max_records` in a flood.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import sqlalchemy as sa
from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError
from prometheus_client import CollectorRegistry

from lambda_pipeline.errors import TopicRecreatedError, TransientError
from lambda_pipeline.monitoring.pulse import Pulse
from lambda_pipeline.speed.batching import BatchBuilder
from lambda_pipeline.speed.commit import MicroBatch
from lambda_pipeline.speed.committer import Committer, Outcome
from lambda_pipeline.speed.membership import Membership
from lambda_pipeline.speed.metrics import SpeedMetrics
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.log_partitions import other_logs
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import Topic

logger = logging.getLogger(__name__)
_SLICE = 2_000  # records judged at a time, so that what Kafka's client makes of them is soon garbage
_IDLE = 0.25  # seconds that a fetch waits for the first record
_KEEP_EVERY = 0.5  # seconds between signs of life to the group while nothing can be taken in
_AWAY = 2.0  # seconds without fetching after which the topic may have become another
_CHECK_EVERY = 30.0  # seconds without a record after which PostgreSQL is asked whether it is where it was
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0  # seconds between attempts while a server is away
_LOOK_EVERY = 1.0  # seconds between two looks at the lag
_ASK_EVERY = 10.0  # seconds between two questions about it while nothing is fetched
_COMMITS = "committing"  # beside the loop, what the pulse is told of
_COMMIT_GRACE, _LEAVE_GRACE = 1.5, 1.0  # seconds to finish a commit, and to leave the group, when told to stop


@dataclass(frozen=True, slots=True)
class SpeedOptions:
    """How the daemon batches: the most records of a commit, and the longest that one waits for company (seconds)."""

    group: str
    max_records: int = 30_000
    max_wait: float = 0.25


class SpeedDaemon:
    """Consumes the topic into the speed tables until told to stop. Any number of them share a consumer group."""

    def __init__(
        self,
        engine: sa.Engine,
        connection: KafkaConnection,
        topic: Topic,
        options: SpeedOptions,
        on_commit: Callable[[MicroBatch, int], None] | None = None,
        *,
        metrics: SpeedMetrics | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        """`on_commit` is told of every committed batch and how many observations the speed layer gained."""
        self._metrics = metrics or SpeedMetrics(CollectorRegistry())
        self._pulse = pulse or Pulse()
        self._looked_at = self._asked_at = 0.0
        self._engine = engine
        self._connection = connection
        self._topic = topic
        self._options = options
        self._on_commit = on_commit
        with transaction(engine) as database:
            deployment = load_deployment(database)
            _mention_old_logs(database, topic)
        self._timezone = deployment.timezone
        self._builder = BatchBuilder(
            deployment.validator(), options.max_records, catalogue_version=deployment.catalogue_version
        )
        self._is_outdated = False  # whether the catalogue has changed
        self._last_commit = 0.0  # seconds that it took
        self._fetched_at = self._checked_at = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Consume until `stop` is set. Raises LogGapError where the log no longer holds the stored offset."""
        membership = Membership(self._engine, self._connection, self._topic, self._options.group)
        committer = Committer(self._engine, self._timezone, on_setback=self._on_setback)
        try:
            self._loop(membership, committer, stop)
        except TopicRecreatedError as error:
            self._drain(membership, committer, stop)
            raise membership.explain_recreation() from error
        finally:
            try:
                committer.close(_COMMIT_GRACE)
                self._settle(membership, committer)
            finally:
                membership.close(_LEAVE_GRACE)

    def _loop(self, membership: Membership, committer: Committer, stop: threading.Event) -> None:
        pause = _FIRST_PAUSE
        while not stop.is_set():
            try:
                self._step(membership, committer, stop)
            except (TransientError, KafkaError) as error:
                logger.warning("waiting %.1f s: %s", pause, error)
                self._metrics.waited(error)
                self._pulse.waits(str(error))
                self._wait(membership, pause, stop)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
                self._pulse.beat()

    def _wait(self, membership: Membership, seconds: float, stop: threading.Event) -> None:
        """Wait as a member that takes its part in rebalances, so that the others need not wait for it."""
        end = time.monotonic() + seconds
        while not stop.is_set() and (left := end - time.monotonic()) > 0:
            began = time.monotonic()
            with suppress(KafkaError):
                membership.keep(min(left, _KEEP_EVERY))
                self._builder.drop(membership.sync())
            self._look(membership)
            if time.monotonic() - began < _KEEP_EVERY / 10:
                stop.wait(min(left, _KEEP_EVERY))

    def _step(self, membership: Membership, committer: Committer, stop: threading.Event) -> None:
        """One round: settle what was committed, fetch more if there is room, hand over what is due."""
        self._settle(membership, committer)
        if not committer.is_busy:
            self._check(membership)
            self._take_up(membership)
        if self._builder.room:
            came = self._fetch(membership, committer, stop)
        else:
            came = False
            committer.wait(_KEEP_EVERY, until_idle=membership.has_new)
            if not self._may_submit(membership, committer):
                membership.keep(_KEEP_EVERY)
                self._builder.drop(membership.sync())
        if self._is_due(came) and self._may_submit(membership, committer):
            self._settle(membership, committer)
            if not committer.is_busy:
                self._take_up(membership)
            if not self._builder.is_empty:
                self._submit(committer)
        membership.report()
        self._look(membership)

    def _submit(self, committer: Committer) -> None:
        self._pulse.turns(_COMMITS)
        committer.submit(self._builder.take())

    def _look(self, membership: Membership) -> None:
        """Tell the metrics where the partitions stand, every now and then."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY:
            return
        ask = now - self._fetched_at > _AWAY and now - self._asked_at > _ASK_EVERY
        if ask:
            self._asked_at = now
        self._looked_at = now
        self._metrics.stand(membership.standing(ask=ask))

    def _on_setback(self, error: Exception) -> None:
        """A commit is tried again. Called from the committer's threads."""
        if isinstance(error, TransientError):
            self._metrics.waited(error)
            self._pulse.waits(str(error), _COMMITS)
        else:
            self._metrics.conflicted()
            self._pulse.beat(_COMMITS)

    def _may_submit(self, membership: Membership, committer: Committer) -> bool:
        """Whether the batch can go: a full one while another is under way, unless a new partition waits for a pause."""
        if not committer.is_busy:
            return True
        return committer.has_room and not self._builder.room and not membership.has_new

    def _drain(self, membership: Membership, committer: Committer, stop: threading.Event) -> None:
        """Commit all that was fetched: the log may not hold it any more. Stays a member meanwhile."""
        while not stop.is_set():
            self._pulse.turns()
            committer.wait(_KEEP_EVERY, until_idle=True)
            self._settle(membership, committer)
            if committer.is_busy:
                with suppress(KafkaError):
                    membership.keep(_KEEP_EVERY)
            elif self._builder.is_empty:
                return
            else:
                self._submit(committer)

    def _patience(self, committer: Committer) -> float:
        """Seconds that the next fetch may wait: not while records lie ready that PostgreSQL could take."""
        if self._builder.is_empty:
            return _IDLE
        return 0.005 if committer.is_busy else max(self._linger - self._builder.age, 0.0)

    @property
    def _linger(self) -> float:
        """How long a record waits for company: as long as a commit takes, so that a trickle costs half the time."""
        return min(self._options.max_wait, self._last_commit)

    def _is_due(self, came: bool) -> bool:
        """Whether the batch should go: full, old enough, or nothing more came within its time."""
        if self._builder.is_empty:
            return False
        age = self._builder.age
        return not self._builder.room or age >= self._options.max_wait or (not came and age >= self._linger)

    def _fetch(self, membership: Membership, committer: Committer, stop: threading.Event) -> bool:
        """Judge what the log has; whether something came."""
        if time.monotonic() - self._fetched_at > _AWAY:
            membership.refresh()
        try:
            polled = membership.poll(self._patience(committer), min(self._builder.room, _SLICE))
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            logger.info("Kafka refuses an offset: %s", error)
            self._drain(membership, committer, stop)
            if not stop.is_set():
                membership.explain_refusal(_cuts(error))
            return False
        finally:
            self._fetched_at = time.monotonic()
            self._builder.drop(membership.sync())
        for partition, records in polled:
            expected = membership.expected(partition)
            if expected is not None:
                membership.advance(partition, self._builder.add(partition, expected, records))
        return bool(polled)

    def _settle(self, membership: Membership, committer: Committer) -> None:
        """Take in what became of the batches that are done."""
        while (outcome := committer.outcome()) is not None:
            if outcome.is_outdated:
                self._builder.drop(membership.let_go_all())
                self._is_outdated = True
            elif outcome.refused:
                membership.let_go(outcome.refused)
                self._builder.drop(outcome.refused)
            self._last_commit = outcome.seconds
            membership.note_stored({move.partition.partition: move.next for move in outcome.committed.moves})
            self._checked_at = time.monotonic()
            _log(outcome)
            self._pulse.beat(_COMMITS)
            self._metrics.settled(outcome)
            if self._on_commit is not None:
                self._on_commit(outcome.committed, outcome.gained)
        if not committer.is_busy:
            self._pulse.rest(_COMMITS)

    def _check(self, membership: Membership) -> None:
        """While nothing comes, look now and then whether PostgreSQL still is where this daemon left it.

        It may have been restored from a backup, or be a standby that lost the last commits. While records come, each
        commit looks.
        """
        if self._builder.is_empty and time.monotonic() - self._checked_at > _CHECK_EVERY:
            self._checked_at = time.monotonic()
            membership.let_go_moved()

    def _take_up(self, membership: Membership) -> None:
        """Go on with partitions that are not gone on with, by the catalogue as it is now."""
        if self._is_outdated:
            with transaction(self._engine, read_only=True) as database:
                deployment = load_deployment(database)
            self._builder.judge_by(deployment.validator(), deployment.catalogue_version)
            self._is_outdated = False
            logger.info("judging by version %d of the catalogue from now on", deployment.catalogue_version)
        membership.take_up()


def _cuts(error: KafkaError) -> dict[int, int]:
    """Where the broker says that partitions (by number) were cut short; empty for any other refusal."""
    if not isinstance(error, LogTruncationError):
        return {}
    return {tp.partition: 0 if end is None else end.offset for tp, end in error.divergent_offsets.items()}


def _log(outcome: Outcome) -> None:
    batch = outcome.committed
    logger.debug(
        "committed %d observations (%d new), %d dead letters in %.3f s up to %s",
        len(batch.observations),
        outcome.gained,
        len(batch.dead_letters),
        outcome.seconds,
        ", ".join(move.partition.at(move.next) for move in batch.moves),
    )


def _mention_old_logs(database: sa.Connection, topic: Topic) -> None:
    """Say so when a topic that was consumed before is another log now."""
    query = sa.text(
        "select p.topic || '[' || p.partition || ']@' || o.next_offset from log_partitions p "
        "join stream_offsets o on o.log_partition = p.id where p.id = any(:ids) order by p.id"
    )
    fresh = sa.text(
        "select not exists (select from log_partitions p join stream_offsets o on o.log_partition = p.id "
        "where p.log_id = :log_id)"
    )
    ids = [partition.id for partition in other_logs(database, topic.log_id, topic.name)]
    consumed = database.execute(query, {"ids": ids}).scalars().all()
    if consumed and database.execute(fresh, {"log_id": topic.log_id}).scalar():
        logger.warning(
            "topic %s was recreated: it is a new log and is read from its start. The old one was consumed up to %s; "
            "whatever came after that is gone.",
            topic.name,
            ", ".join(consumed),
        )
