"""The log beside those who read it: where it begins and ends, and what of it is about to be dropped."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogBounds, LogReader
from lambda_pipeline.stream.topic import find_retention, find_topic


@dataclass(frozen=True, slots=True)
class LogState:
    """A topic at a moment. `old` says per partition up to which offset records have outlived half of the retention."""

    log_id: UUID
    bounds: Mapping[int, LogBounds]
    old: Mapping[int, int]
    retention: timedelta | None


def read_log(connection: KafkaConnection, topic_name: str, now: datetime) -> LogState | None:
    """The topic as it is at `now` (aware UTC); None where there is none. Raises BrokerUnavailableError."""
    topic = find_topic(connection, topic_name)
    if topic is None:
        return None
    retention = find_retention(connection, topic_name)
    with LogReader(connection, topic_name) as reader:
        bounds = reader.bounds(topic.partitions)
        old = {} if retention is None else reader.offsets_at(topic.partitions, now - retention / 2)
    return LogState(topic.log_id, bounds, old, retention)
