"""What a run would do now, without doing it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import sqlalchemy as sa

from lambda_pipeline.batch.publish import hours_to_publish
from lambda_pipeline.batch.raw_data import load_frontiers
from lambda_pipeline.domain.city_time import HOUR
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.log_partitions import known_partitions
from lambda_pipeline.storage.sql import sql
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogReader
from lambda_pipeline.stream.topic import find_topic


@dataclass(frozen=True, slots=True)
class Survey:
    """What waits: records of the log, stored hours whose result is stale, and hours of which only speed knows."""

    unread_records: int
    stale_hours: int
    stale_rows: int
    speed_hours: int


def survey(
    engine: sa.Engine,
    connection: KafkaConnection,
    topic_name: str,
    first: date,
    until: date,
    *,
    everything: bool = False,
    closed_only: bool = False,
) -> Survey:
    """What a run over the city days [first, until) would find. Changes nothing.

    Raises BrokerUnavailableError, DatabaseUnavailableError.
    """
    hours = hours_to_publish(engine, first, until, everything=everything)
    if closed_only:
        now = datetime.now(UTC)
        hours = [hour for hour in hours if hour.hour_start + HOUR <= now]
    with transaction(engine, read_only=True) as database:
        speed = int(database.execute(sql("batch/hours_in_speed"), {"first": first, "until": until}).scalar_one())
    unread = _unread(engine, connection, topic_name)
    return Survey(unread, len(hours), sum(hour.rows for hour in hours), speed)


def _unread(engine: sa.Engine, connection: KafkaConnection, topic_name: str) -> int:
    topic = find_topic(connection, topic_name)
    if topic is None:
        return 0
    frontiers = load_frontiers(engine)
    with transaction(engine, read_only=True) as database:
        known = known_partitions(database, topic.log_id)
    with LogReader(connection, topic_name) as reader:
        bounds = reader.bounds(topic.partitions)
    read = {number: frontiers.get(one.id, 0) for number, one in known.items()}
    return sum(max(bound.end - max(read.get(number, 0), bound.beginning), 0) for number, bound in bounds.items())
