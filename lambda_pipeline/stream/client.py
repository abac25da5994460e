"""How every Kafka client of the platform connects, and how Kafka's errors become ours."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kafka.errors import AuthorizationError, KafkaError, SaslAuthenticationFailedError, UnsupportedSaslMechanismError
from kafka.net.compat import KafkaNetClient

from lambda_pipeline.errors import BrokerRefusedError, BrokerUnavailableError, LambdaPipelineError
from lambda_pipeline.stream.security import why_no_tls

T = TypeVar("T")

# kafka-python reports every reconnect attempt as an error of its own; what matters is reported by us.
for _name in ("kafka", "kafka.net", "kafka.coordinator", "kafka.consumer", "kafka.producer"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_REFUSALS = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError, AuthorizationError)


class _Refusals(logging.Handler):
    """kafka-python says in its log alone that a broker does not let it in; to its caller, that there was no answer."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._last: KafkaError | None = None
        self._at = -1.0

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a refusal; nothing is written."""
        for value in record.args if isinstance(record.args, tuple) else ():
            if isinstance(value, _REFUSALS):
                self._last, self._at = value, time.monotonic()

    def since(self, moment: float) -> KafkaError | None:
        """The last one, if it came after a moment (monotonic seconds)."""
        return self._last if self._at >= moment else None


_refusals = _Refusals()
_connections = logging.getLogger("kafka.net.manager")
_connections.setLevel(logging.WARNING)
_connections.propagate = False
_connections.addHandler(_refusals)

BOOTSTRAP_MS = 5_000
"""How long whoever asks Kafka something waits for a broker: what is away for longer is away, and says so."""


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where the brokers are. `security` holds client settings for TLS and SASL (`kafka_security`): never shown."""

    bootstrap_servers: str
    security: dict[str, Any] = field(default_factory=dict, repr=False)

    def client_settings(self, client_id: str, **defaults: Any) -> dict[str, Any]:
        """Settings that producers, consumers and admin clients share; `security` wins over `defaults`."""
        return {
            **defaults,
            "bootstrap_servers": self.bootstrap_servers.split(","),
            "client_id": f"lambda-pipeline-{client_id}",
            **self.security,
        }


@contextmanager
def broker_errors(connection: KafkaConnection) -> Iterator[None]:
    """Turn kafka-python's errors into ours, which name the address.

    BrokerRefusedError where it does not let us in or do what we want, else BrokerUnavailableError.
    """
    began = time.monotonic()
    try:
        yield
    except KafkaError as error:
        cause = error if isinstance(error, _REFUSALS) else _refusals.since(began) or error
        raise _as_ours(connection, cause) from error


def connected(make: Callable[..., T], **settings: Any) -> T:
    """A client of kafka-python. One that cannot connect would leave its thread and its sockets behind."""
    clients: list[Any] = []

    def make_client(**config: Any) -> Any:
        clients.append(KafkaNetClient(**config))
        return clients[-1]

    try:
        return make(**settings, kafka_client=make_client)
    except BaseException:
        for client in clients:
            with suppress(KafkaError, OSError, RuntimeError):
                client.close()
        raise


def _as_ours(connection: KafkaConnection, error: KafkaError) -> LambdaPipelineError:
    where, user = f"Kafka at {connection.bootstrap_servers}", connection.security.get("sasl_plain_username")
    if isinstance(error, SaslAuthenticationFailedError | UnsupportedSaslMechanismError):
        return BrokerRefusedError(
            f"{where} does not let the user {user} in: {error}.",
            "Are LAMBDA_KAFKA_USERNAME, LAMBDA_KAFKA_PASSWORD and LAMBDA_KAFKA_SASL_MECHANISM right?",
        )
    if isinstance(error, AuthorizationError):
        return BrokerRefusedError(
            f"{where} does not allow {user or 'whoever comes without a name'} what is needed: {error}.",
            "Give it rights on the topic and the consumer group (docs/operations.md).",
        )
    refusal = why_no_tls(connection.bootstrap_servers, connection.security)
    if refusal is not None:
        return BrokerRefusedError(
            f"{where} cannot be reached safely: {refusal}.",
            "Are LAMBDA_KAFKA_SECURITY_PROTOCOL and LAMBDA_KAFKA_CA_FILE (and certificate and key, if it asks for "
            "them) right for this address?",
        )
    return BrokerUnavailableError(
        f"{where} is not answering: {error}.", "Is it running, and is KAFKA_BOOTSTRAP_SERVERS right?"
    )
