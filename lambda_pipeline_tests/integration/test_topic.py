"""The topic is made or verified, and ranges of it are read exactly."""

from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from lambda_pipeline.batch.raw_data import RawRun, advance_raw_data
from lambda_pipeline.domain.log import DeadLetter, Incoming, judge
from lambda_pipeline.domain.observation import ObservationMessage, encode
from lambda_pipeline.errors import TopicMismatchError
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline.speed.commit import MicroBatch, Move, commit_micro_batch, load_offsets
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.log_partitions import register_partitions
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogBounds, LogReader
from lambda_pipeline.stream.topic import MAX_MESSAGE_BYTES, RETENTION_MS, ensure_topic, find_topic
from lambda_pipeline_tests.integration.observations import (
    ZONE,
    seen,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


class Stream:
    """A topic of two partitions on the real broker, with the database beside it."""

    def __init__(self, database: Database, connection: KafkaConnection, name: str) -> None:
        self.database, self.connection, self.name = database, connection, name
        self.admin = KafkaAdminClient(**connection.client_settings("test"))
        self.producer = KafkaProducer(**connection.client_settings("test"), acks="all")
        ensure_topic(connection, name, 2)

    def close(self) -> None:
        self.producer.close()
        self.admin.close()

    def produce(self, *values: ObservationMessage | bytes | None, partition: int = 0) -> None:
        for value in values:
            payload = encode(value) if isinstance(value, ObservationMessage) else value
            self.producer.send(self.name, payload, key=b"key", partition=partition)
        self.producer.flush()

    def consume(self, end: int, partition: int = 0) -> int:
        """The speed layer's commit of one partition up to an offset."""
        topic = find_topic(self.connection, self.name)
        assert topic is not None
        with transaction(self.database.writer) as connection:
            validator = load_deployment(connection).validator()
            found = register_partitions(connection, topic.log_id, topic.name, [partition])[partition]
        stored = load_offsets(self.database.writer, {0: found})[0] or 0
        with LogReader(self.connection, self.name) as reader:
            start = max(stored, reader.bounds((partition,))[partition].beginning)
            batches = list(reader.read({partition: (start, end)}, 1000))
        judged = [judge(record, found.id, validator) for batch in batches for record in batch[partition]]
        batch = MicroBatch(
            tuple(one for one in judged if isinstance(one, Incoming)),
            tuple(one for one in judged if isinstance(one, DeadLetter)),
            (Move(found, stored, end),),
        )
        return commit_micro_batch(self.database.writer, batch, ZONE)

    def advance(self, *, accept_loss: bool = False) -> RawRun:
        return advance_raw_data(self.database.writer, self.connection, self.name, accept_loss=accept_loss)

    def expire(self, before: int, partition: int = 0) -> None:
        """What retention does: records below an offset are gone."""
        self.admin.delete_records({TopicPartition(self.name, partition): before})

    def recreate(self) -> None:
        self.admin.delete_topics([self.name])
        assert wait_until(lambda: self.name not in self.admin.list_topics(), 20)
        ensure_topic(self.connection, self.name, 2)

    def frontiers(self) -> list[tuple[int, int]]:
        """(partition number, next offset) of each frontier, in the order in which the log partitions were met."""
        rows = self.database.rows(
            "select p.partition, f.next_offset from raw_frontier f join log_partitions p on p.id = f.log_partition "
            "order by p.id"
        )
        return [tuple(row) for row in rows]  # type: ignore[misc]


@pytest.fixture
def stream(database: Database, kafka: KafkaConnection, topic_name: str) -> Iterator[Stream]:
    made = Stream(database, kafka, topic_name)
    yield made
    made.close()


# ---------------------------------------------------------------- the topic


def topic_settings(stream: Stream) -> dict[str, str]:
    described = stream.admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, stream.name)], config_filter="all"
    )
    (by_name,) = described.values()
    return {key: value["value"] for key, value in by_name[stream.name].items()}


def alter(stream: Stream, **configs: str) -> None:
    changed = {name.replace("_", "."): value for name, value in configs.items()}
    stream.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, stream.name, configs=changed)])


def test_the_topic_is_created_with_append_times_and_seven_days(stream: Stream) -> None:
    found = topic_settings(stream)
    assert found["message.timestamp.type"] == "LogAppendTime"
    assert found["retention.ms"] == str(7 * 24 * 3600 * 1000) == str(RETENTION_MS)
    assert (found["cleanup.policy"], found["retention.bytes"]) == ("delete", "-1")


def test_a_topic_that_fits_is_taken_as_it_is(stream: Stream) -> None:
    before = topic_settings(stream)
    found = ensure_topic(stream.connection, stream.name, 2)
    assert found == find_topic(stream.connection, stream.name)
    assert found.partitions == (0, 1)
    assert topic_settings(stream) == before


@pytest.mark.parametrize("retention", ["-1", str(RETENTION_MS), str(RETENTION_MS + 1)])
def test_a_topic_that_keeps_longer_or_for_ever_fits(stream: Stream, retention: str) -> None:
    alter(stream, retention_ms=retention)
    ensure_topic(stream.connection, stream.name, 2)


@pytest.mark.parametrize(
    ("configs", "named", "mend"),
    [
        ({"message_timestamp_type": "CreateTime"}, "CreateTime, not", "message.timestamp.type=LogAppendTime"),
        ({"retention_ms": str(RETENTION_MS - 1)}, "less than the seven days", f"retention.ms={RETENTION_MS}"),
        ({"retention_ms": "3600000"}, "keeps records for 1 hours", f"retention.ms={RETENTION_MS}"),
        ({"cleanup_policy": "compact"}, "cleanup.policy=compact: its key", "cleanup.policy=delete"),
        ({"cleanup_policy": "compact,delete"}, "cleanup.policy=compact,delete: its key", "cleanup.policy=delete"),
        ({"retention_bytes": "1048576"}, "keeps 1048576 bytes of a partition", "retention.bytes=-1"),
        ({"max_message_bytes": "1048575"}, "takes 1048575 bytes at a time", f"max.message.bytes={MAX_MESSAGE_BYTES}"),
        (
            {"retention_bytes": "1048576", "cleanup_policy": "compact"},
            "history; it keeps 1048576 bytes",
            "cleanup.policy=delete,retention.bytes=-1",
        ),
    ],
)
def test_a_topic_that_differs_is_refused_with_the_command_that_mends_it(
    stream: Stream, configs: dict[str, str], named: str, mend: str
) -> None:
    alter(stream, **configs)
    with pytest.raises(TopicMismatchError, match=named) as caught:
        ensure_topic(stream.connection, stream.name, 2)
    assert f"--alter --topic {stream.name} --add-config {mend}" in caught.value.next_action
    assert stream.connection.bootstrap_servers in caught.value.next_action


def test_a_topic_of_fewer_partitions_is_refused_with_the_command_that_mends_it_and_one_of_more_is_not(
    stream: Stream,
) -> None:
    with pytest.raises(TopicMismatchError, match="has 2 partitions, fewer than LAMBDA_KAFKA_PARTITIONS=3") as caught:
        ensure_topic(stream.connection, stream.name, 3)
    assert f"--alter --topic {stream.name} --partitions 3" in caught.value.next_action
    assert ensure_topic(stream.connection, stream.name, 1).partitions == (0, 1)


def test_a_topic_that_is_not_there_is_not_found(kafka: KafkaConnection) -> None:
    assert find_topic(kafka, "no-such-topic") is None


# ---------------------------------------------------------------- reading ranges


def test_exactly_the_asked_ranges_are_read(stream: Stream) -> None:
    stream.produce(*(seen(minute) for minute in range(10)), partition=0)
    stream.produce(*(seen(minute) for minute in range(10)), partition=1)
    with LogReader(stream.connection, stream.name) as reader:
        assert reader.bounds((0, 1)) == {0: LogBounds(0, 10), 1: LogBounds(0, 10)}
        offsets: dict[int, list[int]] = {0: [], 1: []}
        for batch in reader.read({0: (2, 7), 1: (0, 3)}, 2):
            assert sum(len(records) for records in batch.values()) <= 2
            for number, records in batch.items():
                offsets[number] += [record.offset for record in records]
        assert offsets == {0: [2, 3, 4, 5, 6], 1: [0, 1, 2]}
        assert list(reader.read({0: (10, 10), 1: (3, 3)}, 2)) == []
