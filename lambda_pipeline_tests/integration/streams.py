"""A topic on the real broker with both layers beside it, for the tests of what is read from it."""

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from lambda_pipeline.batch.raw_data import advance_raw_data
from lambda_pipeline.batch.raw_share import OnProgress, RawRun
from lambda_pipeline.domain.log import DeadLetter, Incoming, judge
from lambda_pipeline.domain.observation import ObservationMessage, encode
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline.speed.commit import MicroBatch, Move, commit_micro_batch, load_offsets
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.log_partitions import register_partitions
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogReader
from lambda_pipeline.stream.topic import ensure_topic, find_topic
from lambda_pipeline_tests.integration.observations import (
    ZONE,
)
from lambda_pipeline_tests.servers import Database


class Stream:
    """A topic on the real broker, of two partitions unless told otherwise, with the database beside it."""

    def __init__(self, database: Database, connection: KafkaConnection, name: str, partitions: int = 2) -> None:
        self.database, self.connection, self.name = database, connection, name
        self.admin = KafkaAdminClient(**connection.client_settings("test"))
        self.producer = KafkaProducer(**connection.client_settings("test"), acks="all")
        ensure_topic(connection, name, partitions)

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

    def advance(self, *, accept_loss: bool = False, readers: int = 1, on_progress: OnProgress | None = None) -> RawRun:
        return advance_raw_data(
            self.database.writer, self.connection, self.name, accept_loss=accept_loss, readers=readers,
            on_progress=on_progress,
        )  # fmt: skip

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
