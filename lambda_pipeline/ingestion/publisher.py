"""The publisher: observations through the spool to Kafka, each at least once and in order.

Every observation goes through the spool, also while all is well: once it is there, nothing that happens to this process
or to Kafka loses it. One thread stores what was published, many at a time (one fsync for all); another sends what is
stored, oldest first, and removes what Kafka has acknowledged. What is acknowledged and not yet removed when the process
dies is sent again, and absorbed by the observation's identity.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaProducer

from lambda_pipeline.domain.observation import InvalidObservationError, ObservationMessage, decode, encode
from lambda_pipeline.errors import SpoolUnavailableError
from lambda_pipeline.ingestion.delivery import DELIVERY_TIMEOUT, Delivery, Outcome, describe
from lambda_pipeline.ingestion.outbox import Outbox
from lambda_pipeline.ingestion.spool import Record, Spool

log = logging.getLogger(__name__)

_WINDOW = 1_000  # records under way to Kafka, at most
_FIRST_PAUSE = 0.25  # seconds; doubles with every attempt that fails
_STORE_SECONDS = 2.0  # for the disk, when closing
_JOIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PublishCounts:
    """Observations that Kafka acknowledged and refused since the start, and those that wait, on disk and in memory."""

    delivered: int
    refused: int
    spooled: int
    in_memory: int

    @property
    def pending(self) -> int:
        """All that wait. One that is just being stored may count twice, never not at all."""
        return self.spooled + self.in_memory


class Publisher:
    """Takes observations and sends them to a topic, keyed by location. Safe to share between threads.

    `config` are kafka-python's common settings (`bootstrap_servers`, security). The publisher owns `spool` from here
    on and closes it; what an earlier run left there is sent first. Kafka may be away at any time, also now. While the
    disk takes nothing, up to about `max_in_memory` observations are kept in memory and sent from there. `retry_after`
    is the longest pause, in seconds, between attempts at Kafka or the disk. `prepare` is called before each connection
    to Kafka, to create or verify the topic; what it raises counts as an outage.

    Raises SpoolInUseError if another ingest has the spool.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        spool: Spool,
        *,
        max_in_memory: int = 20_000,
        delivery_timeout: float = DELIVERY_TIMEOUT,
        retry_after: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        producer: Callable[..., Any] = KafkaProducer,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self.topic = topic
        self._outbox = Outbox(spool, max_in_memory=max_in_memory, retry_after=retry_after)
        self._delivery = Delivery(config, topic, delivery_timeout=delivery_timeout, producer=producer, prepare=prepare)
        self._retry_after = retry_after
        self._clock = clock
        self._delivered = self._refused = 0
        self._is_closed = False
        # Of an outage, the sending thread's own:
        self._away_since: float | None = None
        self._attempts = 0
        self._advice = ""
        self._sent_late = 0
        self._report_left_over()
        self._storer = threading.Thread(target=self._keep, args=("storing", self._outbox.store), daemon=True)
        self._sender = threading.Thread(target=self._send_all, daemon=True)
        self._storer.start()
        self._sender.start()

    def publish(self, message: ObservationMessage) -> None:
        """Take a message over; returns at once. It is durable when `counts().in_memory` no longer holds it.

        Never refused for a bound, so that the polls under way when `is_full` turns true lose nothing: what they bring
        is the most by which the bound is exceeded.
        """
        if self._is_closed:
            log.error("published after the publisher was closed, and lost: %s", _name(encode(message)))
            return
        self._outbox.put(message.location.encode(), encode(message))

    @property
    def is_full(self) -> bool:
        """Whether polling should pause: the spool is at its bound and stays so until a tenth of it is free again.

        Where the disk takes nothing, it is the queue in memory whose bound counts.
        """
        return self._outbox.is_full

    @property
    def is_kafka_away(self) -> bool:
        """Whether Kafka did not take what was last sent; until all that waited is sent."""
        return self._away_since is not None

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until Kafka has acknowledged or refused everything; False if something waits."""
        return self._outbox.wait_for(lambda: self.counts().pending == 0, timeout)

    def counts(self) -> PublishCounts:
        """How many were delivered and refused, and how many wait where."""
        in_memory = self._outbox.in_memory  # first: an observation moves from there to the disk
        return PublishCounts(self._delivered, self._refused, self._outbox.spooled, in_memory)

    def close(self, timeout: float = 1.5) -> None:
        """Make everything durable, send what can be sent within `timeout` seconds, leave the rest to the next start.

        Within three seconds even where Kafka hangs; at once where it is known to be away.
        """
        if self._is_closed:
            return
        self._is_closed = True
        outbox = self._outbox
        outbox.wait_for(lambda: not outbox.in_memory or outbox.disk_fails, _STORE_SECONDS)
        outbox.wait_for(lambda: self.counts().pending == 0 or self._away_since is not None, timeout)
        outbox.stop_sending()
        self._delivery.abort()
        self._sender.join(_JOIN_SECONDS)
        outbox.stop_storing()
        self._storer.join(_JOIN_SECONDS)
        left = self.counts()
        if left.in_memory:
            log.error("%d observations are lost: neither Kafka nor %s takes them", left.in_memory, outbox.spool.path)
        if left.spooled:
            log.warning("%d observations stay in %s for the next start", left.spooled, outbox.spool.path)
        outbox.spool.close()

    # ---------------------------------------------------------------- the threads

    def _keep(self, what: str, step: Callable[[], bool]) -> None:
        """Repeat a step until it says that it is over. What nobody expected is logged and does not end the thread."""
        while True:
            try:
                if not step():
                    return
            except Exception:
                log.exception("%s observations failed unexpectedly; it goes on in %g s", what, self._retry_after)
                if self._outbox.is_over:
                    return
                self._outbox.pause(self._retry_after)

    def _send_all(self) -> None:
        self._keep("sending", self._send)
        self._delivery.close()

    def _send(self) -> bool:
        """Send one window and note what became of it."""
        records = self._outbox.take(1 if self._attempts else _WINDOW)  # after an outage, one as a probe
        if not records:
            return not self._outbox.is_over
        outcome = Outcome([], [], records, None)
        try:
            outcome = self._delivery.send(records)
        finally:
            refused = [(record, describe(error)) for record, error in outcome.refused]
            self._delivered += len(outcome.acknowledged)
            self._refused += len(refused)
            self._outbox.settle(len(records), outcome.acknowledged, refused, outcome.rest)
        for record, reason in refused:
            self._report_refused(record, reason)
        self._follow_outage(outcome)
        return True

    def _follow_outage(self, outcome: Outcome) -> None:
        """One line when Kafka goes away and one when all that waited is sent, however long the drain stutters."""
        if self._away_since is not None:
            self._sent_late += len(outcome.acknowledged)
        if outcome.outage is not None:
            if self._outbox.is_over:
                return
            self._report_away(outcome.outage)
            self._attempts += 1
            self._outbox.pause(min(_FIRST_PAUSE * 2.0 ** min(self._attempts - 1, 10), self._retry_after))
            return
        self._attempts = 0
        if self._away_since is not None and not self.counts().pending:
            seconds = self._clock() - self._away_since
            log.warning("Kafka is back after %.0f s; %d observations that waited were sent", seconds, self._sent_late)
            self._away_since, self._advice, self._sent_late = None, "", 0

    def _report_away(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = self._clock()
        advice = self._delivery.advice(error)
        if advice != self._advice:
            self._advice = advice
            log.warning(
                "Kafka does not acknowledge observations; they wait in %s. %s (%s)",
                self._outbox.spool.path,
                advice,
                describe(error),
            )

    def _report_refused(self, record: Record, reason: str) -> None:
        kept = str(self._outbox.spool.path) if record.id > 0 else f"this line only: {record.value!r}"
        log.error("Kafka refuses %s for itself: %s. It is kept in %s.", _name(record.value), reason, kept)

    def _report_left_over(self) -> None:
        with suppress(SpoolUnavailableError):
            for first in self._outbox.spool.oldest(1):
                depth = self._outbox.spool.depth
                log.warning("%d observations of an earlier run are sent first, from %s on", depth, _name(first.value))


def _name(value: bytes) -> str:
    """What a message is about: location and timestamp."""
    try:
        message = decode(value)
    except InvalidObservationError:
        return repr(value[:200])
    return f"{message.location} at {message.timestamp.isoformat()}"
