"""What a run would do now, without doing it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import sqlalchemy as sa

from lambda_pipeline.archive.manifest import stale_archives
from lambda_pipeline.batch.publish import HourToPublish, hours_to_publish
from lambda_pipeline.batch.retention import check_retention
from lambda_pipeline.domain.city_time import HOUR
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.sql import sql
from lambda_pipeline.stream.client import KafkaConnection


@dataclass(frozen=True, slots=True)
class Survey:
    """What waits: records of the log, stored hours whose result is stale, hours of which only speed knows, and days
    whose archive is stale.

    What no asset of the run is about is 0.
    """

    unread_records: int
    stale_hours: int
    stale_rows: int
    speed_hours: int
    archive_days: int = 0
    archive_rows: int = 0


def survey(
    engine: sa.Engine,
    connection: KafkaConnection,
    topic_name: str,
    first: date,
    until: date,
    *,
    stores: bool = True,
    publishes: bool = True,
    archives: bool = False,
    everything: bool = False,
    closed_only: bool = False,
) -> Survey:
    """What a run over the city days [first, until) that stores records and publishes hours would find. Changes nothing.

    Asks Kafka only about a run that stores. Raises BrokerUnavailableError, DatabaseUnavailableError.
    """
    now = datetime.now(UTC)
    hours: list[HourToPublish] = []
    speed = unread = 0
    if publishes:
        hours = hours_to_publish(engine, first, until, everything=everything)
        if closed_only:
            hours = [hour for hour in hours if hour.hour_start + HOUR <= now]
        with transaction(engine, read_only=True) as database:
            speed = int(database.execute(sql("batch/hours_in_speed"), {"first": first, "until": until}).scalar_one())
    if stores:
        unread = check_retention(engine, connection, topic_name, now).unread
    days = stale_archives(engine, first, until, everything=everything) if archives else []
    return Survey(unread, len(hours), sum(hour.rows for hour in hours), speed, len(days), sum(day.rows for day in days))
