"""Speed daemons as threads of the test, and a topic to feed them."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from lambda_pipeline.domain.observation import ObservationMessage, encode
from lambda_pipeline.speed.commit import MicroBatch
from lambda_pipeline.speed.consumer import SpeedDaemon, SpeedOptions
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import Topic, ensure_topic
from lambda_pipeline_tests.servers import Database

DEADLINE = 60.0
_groups = itertools.count(1)


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; fail with its name if it does not come true in time."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {DEADLINE:.0f} s in vain until {what}")
        time.sleep(0.02)


class Running:
    """A daemon in a thread."""

    def __init__(self, daemon: SpeedDaemon) -> None:
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(daemon,), daemon=True)
        self._thread.start()

    def _run(self, daemon: SpeedDaemon) -> None:
        try:
            daemon.run(self._stop)
        except BaseException as error:
            self._error = error

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._thread.is_alive()

    def raise_failure(self) -> None:
        """Raise what it ended with by itself, if it did and nobody asked for it (`ended`)."""
        if self._error is not None:
            raise self._error

    def stop(self) -> float:
        """Stop it; returns how many seconds that took. Raises what it ended with."""
        started = time.monotonic()
        self._stop.set()
        self._join()
        self.raise_failure()
        return time.monotonic() - started

    def ended(self) -> BaseException:
        """The error that it ends with by itself."""
        self._join()
        error, self._error = self._error, None
        assert error is not None
        return error

    def _join(self) -> None:
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


class Feed:
    """A topic on the real broker, and the daemons that consume it into the test's database."""

    def __init__(self, database: Database, connection: KafkaConnection, name: str, partitions: int = 2) -> None:
        self.database, self.connection, self.name = database, connection, name
        self.admin = KafkaAdminClient(**connection.client_settings("test"))
        self.topic: Topic = ensure_topic(connection, name, partitions)
        self.group = f"{name}-{next(_groups)}"
        self.batches: list[MicroBatch] = []
        self._running: list[Running] = []
        self._producer = KafkaProducer(**connection.client_settings("test"), acks="all", max_request_size=12_000_000)

    def produce(self, *values: ObservationMessage | bytes | None, partition: int = 0) -> None:
        """Append messages, or bytes as they are, and wait until they are in the log."""
        producer = KafkaProducer(**self.connection.client_settings("test"), acks="all", max_request_size=12_000_000)
        for value in values:
            payload = encode(value) if isinstance(value, ObservationMessage) else value
            producer.send(self.name, payload, key=b"key", partition=partition)
        producer.flush(DEADLINE)
        producer.close()

    def start(self, max_records: int = 20_000) -> Running:
        """One more daemon in the group."""
        options = SpeedOptions(self.group, max_records)
        daemon = SpeedDaemon(
            self.database.writer, self.connection, self.topic, options, lambda batch, _: self.batches.append(batch)
        )
        self._running.append(Running(daemon))
        return self._running[-1]

    def wait_for(self, count: int, table: str = "realtime_data") -> None:
        """Wait until a table holds so many rows, or a daemon failed."""

        def is_there() -> bool:
            for one in self._running:
                one.raise_failure()
            return self.count(table) >= count

        eventually(is_there, f"{table} holds {count} rows")
        assert self.count(table) == count

    def count(self, table: str) -> int:
        """Rows of a table."""
        return int(str(self.database.scalar(f"select count(*) from {table}")))

    def offsets(self) -> dict[int, int]:
        """The stored offsets of the topic's partitions, of their newest incarnations."""
        rows = self.database.rows(
            "select distinct on (p.partition) p.partition, o.next_offset from log_partitions p "
            "left join stream_offsets o on o.log_partition = p.id where p.log_id = :log_id "
            "order by p.partition, p.incarnation desc",
            log_id=self.topic.log_id,
        )
        return {row.partition: row.next_offset for row in rows if row.next_offset is not None}

    def expire(self, offset: int, partition: int = 0) -> None:
        """Let the log lose its records below an offset, as retention does."""
        self.admin.delete_records({TopicPartition(self.name, partition): offset})

    def gaps(self) -> list[tuple[int, int, int, str]]:
        """(partition, from, to, layer) of what is noted as lost."""
        rows = self.database.rows(
            "select p.partition, g.from_offset, g.to_offset, g.layer from log_gaps g "
            "join log_partitions p on p.id = g.log_partition order by 1, 2, 4"
        )
        return [tuple(row) for row in rows]  # type: ignore[misc]

    def stop(self, daemons: Iterable[Running] | None = None) -> None:
        """Stop daemons, or all that still run."""
        for one in self._running if daemons is None else daemons:
            if one.is_alive:
                one.stop()

    def close(self) -> None:
        """End everything."""
        self.stop()
        self.admin.close()
