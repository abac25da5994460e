"""The topic: created or verified at start, and identified by its UUID."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import TopicAlreadyExistsError

from lambda_pipeline.errors import TopicMismatchError
from lambda_pipeline.stream.client import BOOTSTRAP_MS, KafkaConnection, broker_errors, connected

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
    has fewer, where timestamps are not the broker's append times, where records may be removed otherwise than by
    their age, or before they are seven days old, or where it takes no messages of a megabyte; BrokerUnavailableError
    where Kafka is away.
    """
    with broker_errors(connection):
        admin = _admin(connection)
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
        admin = _admin(connection)
        try:
            return _describe(admin, name) if name in admin.list_topics() else None
        finally:
            admin.close()


def find_retention(connection: KafkaConnection, name: str) -> timedelta | None:
    """How long the topic keeps a record; None for ever. Raises BrokerUnavailableError."""
    with broker_errors(connection):
        admin = _admin(connection)
        try:
            milliseconds = int(_settings(admin, name).get("retention.ms") or -1)
        finally:
            admin.close()
    return None if milliseconds < 0 else timedelta(milliseconds=milliseconds)


def _admin(connection: KafkaConnection) -> Any:
    settings = connection.client_settings("admin", bootstrap_timeout_ms=BOOTSTRAP_MS)
    return connected(KafkaAdminClient, **settings)


def _create(admin: KafkaAdminClient, name: str, partitions: int, replication_factor: int) -> None:
    configs = {
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "delete",
        "retention.ms": str(RETENTION_MS),
        "retention.bytes": "-1",
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
    faults = list(_faults(_settings(admin, name)))
    if faults:
        wanted = ",".join(f"{setting}={value}" for setting, value, _ in faults)
        raise TopicMismatchError(
            f"topic {name} {'; it '.join(fault for _, _, fault in faults)}.",
            f"Mend it with: kafka-configs.sh --bootstrap-server {connection.bootstrap_servers} --alter --topic {name} "
            f"--add-config {wanted}",
        )


def _faults(found: dict[str, str | None]) -> Iterator[tuple[str, str, str]]:
    """(setting, what it should be, what is wrong) of a topic with these settings."""
    kind, policy = found.get("message.timestamp.type"), found.get("cleanup.policy")
    retention, size = int(found.get("retention.ms") or -1), int(found.get("retention.bytes") or -1)
    largest = int(found.get("max.message.bytes") or 0)
    if kind != "LogAppendTime":
        yield (
            "message.timestamp.type", "LogAppendTime",
            f"has message.timestamp.type={kind}, not LogAppendTime, so that nobody can tell when a record arrived",
        )  # fmt: skip
    if policy != "delete":
        yield (
            "cleanup.policy", "delete",
            f"has cleanup.policy={policy}: its key is the location, so that compaction removes a location's history",
        )  # fmt: skip
    if 0 <= retention < RETENTION_MS:
        yield (
            "retention.ms", str(RETENTION_MS),
            f"keeps records for {retention / 3_600_000:g} hours, less than the seven days that the batch layer may be "
            "away",
        )  # fmt: skip
    if size >= 0:
        yield (
            "retention.bytes", "-1",
            f"keeps {size} bytes of a partition, however young they are; the batch layer may be away for days",
        )  # fmt: skip
    if largest < MAX_MESSAGE_BYTES:
        yield (
            "max.message.bytes", str(MAX_MESSAGE_BYTES),
            f"takes {largest} bytes at a time at most, less than what ingest may send",
        )  # fmt: skip


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
