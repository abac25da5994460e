"""How every Kafka client of the platform connects, and how Kafka's errors become ours."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kafka.errors import AuthorizationError, KafkaError
from kafka.net.compat import KafkaNetClient

from lambda_pipeline.errors import BrokerRefusedError, BrokerUnavailableError, LambdaPipelineError
from lambda_pipeline.stream.security import why_refused

T = TypeVar("T")

# kafka-python reports every reconnect attempt as an error of its own; what matters is reported by us.
for _name in ("kafka", "kafka.net", "kafka.coordinator", "kafka.consumer", "kafka.producer"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

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
    try:
        yield
    except KafkaError as error:
        raise _as_ours(connection, error) from error


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
    where = f"Kafka at {connection.bootstrap_servers}"
    if isinstance(error, AuthorizationError):
        user = connection.security.get("sasl_plain_username") or "whoever comes without a name"
        return BrokerRefusedError(
            f"{where} does not allow {user} what is needed: {error}.",
            "Give it rights on the topic and the consumer group (docs/operations.md).",
        )
    refusal = why_refused(connection.bootstrap_servers, connection.security)
    if refusal is not None:
        return BrokerRefusedError(f"{where} {refusal.reason}.", refusal.next_action)
    return BrokerUnavailableError(
        f"{where} is not answering: {error}.", "Is it running, and is KAFKA_BOOTSTRAP_SERVERS right?"
    )
