"""Delivery of records to Kafka, a window at a time: what was acknowledged, what was refused, what is to be sent again.

The producer is idempotent with acks=all, so within one producer's life a record is in the log once, whatever happens
to the broker. A record that one producer did not get acknowledged may be in the log all the same when the next one
sends it again; the observation's identity absorbs that.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kafka import KafkaProducer
from kafka.errors import (
    AuthorizationError,
    InvalidRecordError,
    InvalidTimestampError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
    UnknownTopicOrPartitionError,
)
from kafka.net.compat import KafkaNetClient

from lambda_pipeline.errors import LambdaPipelineError
from lambda_pipeline.ingestion.spool import Record

log = logging.getLogger(__name__)

# Over the caller's common settings: what makes a record arrive once, and bounds on waiting and buffering.
_PRODUCER = {
    "acks": "all",
    "enable_idempotence": True,
    "compression_type": "gzip",
    "linger_ms": 5,
    "max_block_ms": 1_500,
    "bootstrap_timeout_ms": 3_000,
    "reconnect_backoff_max_ms": 1_000,
    "allow_auto_create_topics": False,  # a topic with the broker's defaults would break the log's promises
}
DELIVERY_TIMEOUT = 20.0
"""Seconds after which a record that is not acknowledged is taken back from a producer, to be sent by a new one.

While a producer holds it, trying again cannot write it twice; so it is longer than a broker takes to restart or a
partition to find a new leader. That Kafka is away shows no sooner, so it is not much longer.
"""
_REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError, InvalidTimestampError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the records of a window. `rest` is to be sent again, in this order, because of `outage`.

    `positions` says of acknowledged ones, by their number, in which partition they are and at which offset, as far as
    Kafka told.
    """

    acknowledged: list[Record]
    refused: list[tuple[Record, Exception]]
    rest: list[Record]
    outage: Exception | None
    positions: dict[int, tuple[int, int | None]] = field(default_factory=dict)


class Delivery:
    """Sends records to `topic` over a producer that is made when it is needed, and made anew after every outage.

    `config` are kafka-python's common settings (`bootstrap_servers`, security). `send` and `close` belong to one
    thread, `abort` to any.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        *,
        delivery_timeout: float = DELIVERY_TIMEOUT,
        producer: Callable[..., Any] = KafkaProducer,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self.topic = topic
        self._timeout = delivery_timeout
        timeouts = {"delivery_timeout_ms": delivery_timeout * 1000, "request_timeout_ms": delivery_timeout * 250}
        self._config = {**config, **_PRODUCER, **{name: int(value) for name, value in timeouts.items()}}
        self._make = producer
        self._prepare = prepare
        self._producer: Any = None
        self._window: _Window | None = None
        self._is_aborted = False
        self._mutex = threading.Lock()

    def send(self, records: Sequence[Record]) -> Outcome:
        """Send the records in order and wait until each is settled or one has met an outage. Raises no Kafka error.

        Nothing is sent behind a record that met an outage, so that for every key the log's first copies are in order.
        Records refused together are sent again by halves: only what is refused alone is refused for itself. For that
        always by a new producer: kafka-python fails with the error of a refused batch whatever it holds behind it.
        """
        window = self._send(records)
        is_certain = len(records) == 1
        refused = [found for found in window.refused if is_certain or window.is_own(found[0])]
        suspects = [record for record, _ in window.refused if not (is_certain or window.is_own(record))]
        acknowledged, rest, outage = window.acknowledged, window.rest(), window.outage
        positions = window.positions
        if len(refused) < len(window.refused) or (is_certain and refused):
            self.close()
        middle = len(suspects) // 2
        for half in filter(None, (suspects[:middle], suspects[middle:])):
            found = self.send(half) if outage is None else Outcome([], [], half, outage)
            acknowledged += found.acknowledged
            positions |= found.positions
            refused += found.refused
            rest = sorted(rest + found.rest)
            outage = found.outage
        return Outcome(acknowledged, refused, rest, outage, positions)

    def abort(self) -> None:
        """End a `send` under way, and every later one at once: an outage, for whatever is not settled."""
        with self._mutex:
            self._is_aborted = True
            if self._window is not None:
                self._window.end()

    def close(self) -> None:
        """Let go of the producer and its connections."""
        producer, self._producer = self._producer, None
        if producer is not None:
            _shut(producer)

    def advice(self, error: Exception) -> str:
        """What an operator should look at, for an outage."""
        if isinstance(error, LambdaPipelineError):
            return error.next_action
        if isinstance(error, SaslAuthenticationFailedError):
            return "Are the user and password for Kafka right?"
        if isinstance(error, AuthorizationError):
            return f"May this user write to the topic {self.topic} (WRITE, and IDEMPOTENT_WRITE on older brokers)?"
        if isinstance(error, UnknownTopicOrPartitionError) or "metadata" in str(error):
            return f"Is there a topic {self.topic}? Starting ingest anew creates it."
        servers = self._config.get("bootstrap_servers")
        return f"Is Kafka running at {servers if isinstance(servers, str) else ','.join(servers or ())}?"

    def _send(self, records: Sequence[Record]) -> "_Window":
        window = _Window(records)
        with self._mutex:
            self._window = window
            if self._is_aborted:
                window.end()
        producer: Any = None
        try:
            if not window.is_over:
                producer = self._connected()
        except (KafkaError, OSError, LambdaPipelineError) as error:
            window.end(error)
        for place, record in enumerate(records):
            if window.is_over:
                break
            try:
                future = producer.send(self.topic, key=record.key, value=record.value)
            except (KafkaError, OSError, ValueError) as error:  # ValueError: the topic has just lost its partitions
                window.fail(place, producer, error, is_own=True)
                continue
            future.add_callback(partial(window.succeed, place))
            future.add_errback(partial(window.fail, place, producer))
        window.wait(2 * self._timeout)
        if window.outage is not None:
            self.close()  # what state it is in need not be known; what settles meanwhile still counts
        window.seal()
        return window

    def _connected(self) -> Any:
        """The producer, made anew if there is none. Raises KafkaError, OSError, LambdaPipelineError."""
        if self._producer is None:
            if self._prepare is not None:
                self._prepare()
            clients: list[Any] = []

            def make_client(**config: Any) -> Any:
                clients.append(KafkaNetClient(**config))
                return clients[-1]

            try:
                self._producer = self._make(**self._config, kafka_client=make_client)
            except (KafkaError, OSError):
                # A producer that fails in its constructor leaves its sockets to the garbage collector.
                for client in clients:
                    with suppress(KafkaError, OSError, RuntimeError):
                        client.close()
                raise
        return self._producer


def describe(error: Exception) -> str:
    """An error with its kind, which kafka-python's own texts mostly begin with."""
    name, text = type(error).__name__, str(error)
    return text if name in text else f"{name}: {text}"


class _Window:
    """The records under way, settled from the producer's thread."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.acknowledged: list[Record] = []
        self.positions: dict[int, tuple[int, int | None]] = {}
        self.refused: list[tuple[Record, Exception]] = []
        self.outage: Exception | None = None
        self._own: set[int] = set()
        self._open = dict(enumerate(records))
        self._is_sealed = False
        self._changed = threading.Condition()

    @property
    def is_over(self) -> bool:
        """Whether there is no point in sending more."""
        return self.outage is not None

    def succeed(self, place: int, metadata: Any) -> None:
        with self._changed:
            if not self._is_sealed and place in self._open:
                self.acknowledged.append(self._open.pop(place))
                if metadata is not None:
                    offset = None if metadata.offset < 0 else metadata.offset  # -1: it was there already
                    self.positions[self.acknowledged[-1].id] = (metadata.partition, offset)
                self._changed.notify_all()

    def fail(self, place: int, producer: Any, error: Exception, *, is_own: bool = False) -> None:
        """A record failed; `is_own`: by itself, before it got into a batch."""
        with self._changed:
            if self._is_sealed or place not in self._open:
                return
            if isinstance(error, _REFUSALS):
                self.refused.append((self._open.pop(place), error))
                if is_own:
                    self._own.add(self.refused[-1][0].id)
            elif self.outage is None:
                self.outage = error
                with suppress(AttributeError):
                    producer._sender.force_close()  # at once, or it would send what is behind this record
            self._changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        """Wait no longer."""
        with self._changed:
            self.outage = self.outage or error or KafkaTimeoutError("told to stop")
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Until all are settled or one met an outage; after `seconds` that is one."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._open or self.is_over, seconds):
                self.outage = KafkaTimeoutError(f"nothing heard of {len(self._open)} records for {seconds:.0f} s")

    def seal(self) -> None:
        """Nothing changes any more, whatever a producer still reports."""
        with self._changed:
            self._is_sealed = True

    def is_own(self, record: Record) -> bool:
        """Whether a refused record was refused by itself."""
        return record.id in self._own

    def rest(self) -> list[Record]:
        """What is neither acknowledged nor refused, in order."""
        return [self._open[place] for place in sorted(self._open)]


def _shut(producer: Any) -> None:
    """Close a producer at once; its undelivered messages fail through their callbacks.

    KafkaProducer.close flushes first and raises before it stops its thread if that takes too long, so whatever is
    still under way is made to fail before.
    """
    with suppress(KafkaError, OSError, AttributeError):
        producer._sender.force_close()
        producer._sender.join(1.0)
    with suppress(KafkaError, OSError):
        producer.close(timeout=0.5)
