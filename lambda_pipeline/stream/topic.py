"""The topic: created or verified at start, and identified by its UUID."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from lambda_pipeline.errors import TopicMismatchError
from lambda_pipeline.stream.client import BOOTSTRAP_MS, KafkaConnection, broker_errors

logger = logging.getLogger(__name__)
RETENTION_MS = 7 * 24 * 3600 * 1000  # outlasts a long outage of the batch layer
MAX_MESSAGE_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker describes it; `log_id` is new whenever the topic is recreated."""

    name: str
    log_id: UUID
    partitions: tuple[int, ...]


def ensure_topic(connection: KafkaConnection, name: str, partitions: int, replication_factor: int = -1) -> Topic:
    """Create the topic, or verify the one that is there.

    A topic may have more partitions than asked for. Raises TopicMismatchError with the command that mends it where it
    has fewer, where timestamps are not the broker's append times, or where retention is shorter than seven days;
    BrokerUnavailableError where Kafka is away.
    """
    with broker_errors(connection):
        admin = KafkaAdminClient(**connection.client_settings("admin", bootstrap_timeout_ms=BOOTSTRAP_MS))
        try:
            if name not in admin.list_topics():
                _create(admin, name, partitions, replication_factor)
            else:
                _verify(admin, connection, name)
            topic = _describe(admin, name)
            _verify_partitions(topic, connection, partitions)
            return topic
        finally:
            admin.close()


def find_topic(connection: KafkaConnection, name: str) -> Topic | None:
    """The topic as it is, or None. Raises BrokerUnavailableError."""
    with broker_errors(connection):
        admin = KafkaAdminClient(**connection.client_settings("admin", bootstrap_timeout_ms=BOOTSTRAP_MS))
        try:
            return _describe(admin, name) if name in admin.list_topics() else None
        finally:
            admin.close()


def find_retention(connection: KafkaConnection, name: str) -> timedelta | None:
    """How long the topic keeps a record; None for ever. Raises BrokerUnavailableError."""
    with broker_errors(connection):
        admin = KafkaAdminClient(**connection.client_settings("admin", bootstrap_timeout_ms=BOOTSTRAP_MS))
        try:
            milliseconds = int(_settings(admin, name).get("retention.ms") or -1)
        finally:
            admin.close()
    return None if milliseconds < 0 else timedelta(milliseconds=milliseconds)


def _create(admin: KafkaAdminClient, name: str, partitions: int, replication_factor: int) -> None:
    configs = {
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(RETENTION_MS),
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }
    try:
        admin.create_topics(
            {name: {"num_partitions": partitions, "replication_factor": replication_factor, "configs": configs}},
            wait_for_metadata=True,
        )
        logger.info("created topic %s with %d partitions", name, partitions)
    except TopicAlreadyExistsError:
        logger.info("topic %s was just created by another process", name)
        admin.wait_for_topics([name])


def _verify(admin: KafkaAdminClient, connection: KafkaConnection, name: str) -> None:
    found = _settings(admin, name)
    mend = f"kafka-configs.sh --bootstrap-server {connection.bootstrap_servers} --alter --topic {name} --add-config"
    if found.get("message.timestamp.type") != "LogAppendTime":
        raise TopicMismatchError(
            f"topic {name} has message.timestamp.type={found.get('message.timestamp.type')}, not LogAppendTime, "
            "so that nobody can tell when a record arrived.",
            f"Mend it with: {mend} message.timestamp.type=LogAppendTime",
        )
    retention = int(found.get("retention.ms") or -1)
    if 0 <= retention < RETENTION_MS:
        raise TopicMismatchError(
            f"topic {name} keeps records for {retention / 3_600_000:g} hours, less than the seven days that the batch "
            "layer may be away.",
            f"Mend it with: {mend} retention.ms={RETENTION_MS}",
        )


def _verify_partitions(topic: Topic, connection: KafkaConnection, wanted: int) -> None:
    if len(topic.partitions) < wanted:
        raise TopicMismatchError(
            f"topic {topic.name} has {len(topic.partitions)} partitions, fewer than LAMBDA_KAFKA_PARTITIONS={wanted}.",
            f"Mend it with: kafka-topics.sh --bootstrap-server {connection.bootstrap_servers} --alter "
            f"--topic {topic.name} --partitions {wanted}, or lower the setting.",
        )


def _settings(admin: KafkaAdminClient, name: str) -> dict[str, str | None]:
    """The settings of a topic, those that it leaves to the broker included."""
    described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
    if not isinstance(described, dict):
        raise TypeError(f"unexpected answer for topic {name}: {described!r}")
    for by_name in described.values():
        if name in by_name:
            return {key: value.get("value") for key, value in by_name[name].items()}
    return {}


def _describe(admin: KafkaAdminClient, name: str) -> Topic:
    described = admin.describe_topics([name])[0]
    return Topic(
        name, UUID(str(described["topic_id"])), tuple(sorted(p["partition_index"] for p in described["partitions"]))
    )
