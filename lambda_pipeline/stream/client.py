"""How every Kafka client of the platform connects, and how Kafka's errors become ours."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kafka.errors import KafkaError

from lambda_pipeline.errors import BrokerUnavailableError

# kafka-python reports every reconnect attempt as an error of its own; what matters is reported by us.
for _name in ("kafka", "kafka.net", "kafka.coordinator", "kafka.consumer", "kafka.producer"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

BOOTSTRAP_MS = 5_000
"""How long whoever asks Kafka something waits for a broker: what is away for longer is away, and says so."""


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where the brokers are. `security` holds further client settings (TLS, SASL) under kafka-python's names."""

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
    """Turn kafka-python's errors into BrokerUnavailableError that names the address."""
    try:
        yield
    except KafkaError as error:
        raise BrokerUnavailableError(
            f"Kafka at {connection.bootstrap_servers} is not answering: {error}.",
            "Is it running, and is KAFKA_BOOTSTRAP_SERVERS right?",
        ) from error
