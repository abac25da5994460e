"""The publisher: observations to Kafka, and the news when one could not be delivered.

The producer is idempotent with acks=all, so a record is in the log once or it is reported. Kafka may be away at any
time, also at the start: `publish` never raises for it and blocks at most a few seconds. What is not delivered is
handed to `on_failure`, which is the seam for the spool on disk.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from kafka.net.compat import KafkaNetClient

from lambda_pipeline.domain.observation import ObservationMessage, encode
from lambda_pipeline.errors import BrokerUnavailableError, LambdaPipelineError

log = logging.getLogger(__name__)

FailureCallback = Callable[[ObservationMessage, Exception], None]

# Over the caller's common settings: what makes a record arrive once, and bounds on waiting and buffering.
_PRODUCER = {
    "acks": "all",
    "enable_idempotence": True,
    "compression_type": "gzip",
    "linger_ms": 20,
    "request_timeout_ms": 10_000,
    "max_block_ms": 1_500,
    "bootstrap_timeout_ms": 3_000,
    "reconnect_backoff_max_ms": 2_000,
    "allow_auto_create_topics": False,  # a topic with the broker's defaults would break the log's promises
}


@dataclass(frozen=True, slots=True)
class PublishCounts:
    """Messages delivered, given up, and under way."""

    delivered: int
    failed: int
    pending: int


class Publisher:
    """Sends observations to a topic, keyed by location. Safe to share between threads.

    `config` are kafka-python's common settings (`bootstrap_servers`, security). At most `max_pending` messages are
    buffered; one is given up after `delivery_timeout` seconds. Where Kafka or the topic cannot be found, the next
    attempt is made only `reconnect_after` seconds later. `on_failure(message, error)` is called once for each message
    that is given up, from the caller's or the producer's thread; it must be quick.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        *,
        on_failure: FailureCallback | None = None,
        max_pending: int = 100_000,
        delivery_timeout: float = 120.0,
        reconnect_after: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        producer: Callable[..., Any] = KafkaProducer,
    ) -> None:
        self.topic = topic
        self._config = {**config, **_PRODUCER, "delivery_timeout_ms": int(delivery_timeout * 1000)}
        self._on_failure = on_failure
        self._max_pending = max_pending
        self._reconnect_after = reconnect_after
        self._clock = clock
        self._make = producer
        self._connecting = threading.Lock()
        self._producer: Any = None
        self._broken: Any = None
        self._next_attempt = float("-inf")
        self._settled = threading.Condition()
        self._pending: dict[int, ObservationMessage] = {}
        self._number = self._delivered = self._failed = 0
        self._closed = False

    @property
    def is_full(self) -> bool:
        """Whether polling must pause. Never: there is no spool yet."""
        return False

    def publish(self, message: ObservationMessage) -> None:
        """Hand a message to the producer. Whether it arrived shows later, in `counts` or `on_failure`."""
        with self._settled:
            full, self._number = len(self._pending) >= self._max_pending, self._number + 1
            number = self._number
            self._pending[number] = message
        if full:
            self._fail(number, BrokerUnavailableError(f"{self._max_pending} messages wait for Kafka already."))
            return
        producer: Any = None
        try:
            producer = self._connected()
            future = producer.send(self.topic, key=message.location.encode(), value=encode(message))
        except (KafkaError, LambdaPipelineError, OSError, ValueError) as error:
            if isinstance(error, KafkaTimeoutError):
                self._next_attempt = self._clock() + self._reconnect_after  # or each message would wait as long
            self._fail(number, error, producer)
            return
        future.add_callback(partial(self._succeed, number))
        future.add_errback(partial(self._fail, number, producer=producer))

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until nothing is under way; False if something still is."""
        with self._settled:
            return self._settled.wait_for(lambda: not self._pending, timeout)

    def counts(self) -> PublishCounts:
        """How many messages were delivered, given up, and are under way."""
        with self._settled:
            return PublishCounts(self._delivered, self._failed, len(self._pending))

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what is under way within `timeout` seconds; what remains is given up, and reported as such."""
        self.flush(timeout)
        with self._connecting:
            self._closed = True
            producer, self._producer = self._producer, None
        if producer is not None:
            _shut(producer)
        with self._settled:
            left = list(self._pending)
        for number in left:
            self._fail(number, BrokerUnavailableError("Not delivered before the publisher was closed."))

    def _connected(self) -> Any:
        """The producer, made anew if there is none. Raises BrokerUnavailableError or KafkaError."""
        with self._connecting:
            if self._producer is not None and self._producer is self._broken:
                self._producer, producer = None, self._producer
                self._next_attempt = self._clock() + self._reconnect_after
                _shut(producer)
            if self._closed:
                raise BrokerUnavailableError("The publisher is closed.")
            if self._clock() < self._next_attempt:
                raise BrokerUnavailableError("Kafka or the topic was away a moment ago and is not tried yet.")
            if self._producer is not None:
                return self._producer
            clients: list[Any] = []

            def make_client(**config: Any) -> Any:
                clients.append(KafkaNetClient(**config))
                return clients[-1]

            try:
                self._producer = self._make(**self._config, kafka_client=make_client)
            except (KafkaError, OSError) as error:
                # A producer that fails in its constructor leaves its sockets to the garbage collector.
                for client in clients:
                    with suppress(KafkaError, OSError, RuntimeError):
                        client.close()
                self._next_attempt = self._clock() + self._reconnect_after
                raise BrokerUnavailableError(f"Kafka cannot be reached: {error}.") from error
            return self._producer

    def _succeed(self, number: int, _metadata: object) -> None:
        with self._settled:
            if self._pending.pop(number, None) is not None:
                self._delivered += 1
                self._settled.notify_all()

    def _fail(self, number: int, error: Exception, producer: Any = None) -> None:
        if producer is not None and _is_fatal(error):
            self._broken = producer  # replaced by the next publish: this may be its own thread
        with self._settled:
            message = self._pending.pop(number, None)
            if message is None:
                return  # settled before
            self._failed += 1
            self._settled.notify_all()
        log.warning(
            "not delivered to %s: %s at %s: %s", self.topic, message.location, message.timestamp.isoformat(), error
        )
        if self._on_failure is not None:
            try:
                self._on_failure(message, error)
            except Exception:
                log.exception("the handler of failed deliveries failed")


def _is_fatal(error: Exception) -> bool:
    """Whether a producer may be beyond repair: an epoch it lost, an authorization, whatever does not pass by itself.

    An idempotent producer fails everything after such an error, for ever; a new one starts afresh.
    """
    return isinstance(error, KafkaError) and not error.retriable and not isinstance(error, MessageSizeTooLargeError)


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
