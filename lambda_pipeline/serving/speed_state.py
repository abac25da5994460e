"""How far the speed layer is, beside the log: for those who watch it."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from lambda_pipeline.errors import BrokerUnavailableError
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.sql import sql
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogReader
from lambda_pipeline.stream.topic import find_topic


@dataclass(frozen=True, slots=True)
class SpeedState:
    """The speed layer at a moment. Instants are aware UTC, None where there is none yet.

    `lag_records` are the log's records that it has not consumed; None while Kafka is not answering.
    """

    newest_observation: datetime | None
    updated_at: datetime | None
    observations: int
    dead_letters: int
    lag_records: int | None


def speed_state(engine: sa.Engine, connection: KafkaConnection, topic_name: str) -> SpeedState:
    """What the speed layer holds, and how many records of the log wait for it. Raises DatabaseUnavailableError."""
    log_id, ends, beginnings = None, {}, {}
    is_answering = True
    try:
        topic = find_topic(connection, topic_name)
        if topic is not None:
            log_id = topic.log_id
            with LogReader(connection, topic_name) as reader:
                bounds = reader.bounds(topic.partitions)
            ends = {number: bound.end for number, bound in bounds.items()}
            beginnings = {number: bound.beginning for number, bound in bounds.items()}
    except BrokerUnavailableError:
        is_answering = False
    with transaction(engine, "REPEATABLE READ", read_only=True) as database:
        row = database.execute(sql("serving/speed_state"), {"log_id": log_id}).one()
    stored = {int(number): offset for number, offset in row.offsets.items()}
    lag = sum(max(end - max(stored.get(number, 0), beginnings[number]), 0) for number, end in ends.items())
    return SpeedState(row.newest, row.updated_at, row.observations, row.dead_letters, lag if is_answering else None)
