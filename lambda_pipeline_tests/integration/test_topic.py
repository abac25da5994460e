"""The topic is made or verified, and ranges of it are read exactly."""

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from lambda_pipeline.errors import TopicMismatchError
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogBounds, LogReader
from lambda_pipeline.stream.topic import MAX_MESSAGE_BYTES, RETENTION_MS, ensure_topic, find_topic
from lambda_pipeline_tests.integration.observations import (
    seen,
)
from lambda_pipeline_tests.integration.streams import Stream

pytestmark = pytest.mark.integration


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
