"""A topic full of observations, produced before anything is measured, so that the producer takes no processor then."""

from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks.observations import Stream
from lambda_pipeline.domain.observation import encode
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import Topic, ensure_topic

PARTITIONS = 4
# What makes a record and a batch on the broker; as the product's publisher has it.
PRODUCER: dict[str, Any] = {
    "acks": "all",
    "enable_idempotence": True,
    "compression_type": "gzip",
    "linger_ms": 20,
    "allow_auto_create_topics": False,
}
_FLUSH_SECONDS = 120.0


@dataclass(frozen=True)
class LoadedTopic:
    """A topic and its end offset by partition. Its records begin at 0."""

    topic: Topic
    ends: dict[int, int]

    @property
    def records(self) -> int:
        """How many records it holds."""
        return sum(self.ends.values())


def load_topic(connection: KafkaConnection, name: str, stream: Stream, records: int) -> LoadedTopic:
    """Produce the first `records` observations of the stream, keyed by location like the ingest's."""
    topic = ensure_topic(connection, name, PARTITIONS)
    producer = KafkaProducer(**connection.client_settings("bench-load"), **PRODUCER)
    try:
        for number in range(records):
            message = stream.message(number)
            producer.send(name, key=message.location.encode(), value=encode(message))
        producer.flush(_FLUSH_SECONDS)
    finally:
        producer.close()
    loaded = LoadedTopic(topic, end_offsets(connection, topic))
    if loaded.records != records:
        raise RuntimeError(f"{records} records were sent to {name}, and it holds {loaded.records}.")
    return loaded


def end_offsets(connection: KafkaConnection, topic: Topic) -> dict[int, int]:
    """The next offset to be written, by partition."""
    consumer = KafkaConsumer(**connection.client_settings("bench-ends"), group_id=None, enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic.name, number) for number in topic.partitions]
        return {tp.partition: end for tp, end in consumer.end_offsets(partitions).items()}
    finally:
        consumer.close()
