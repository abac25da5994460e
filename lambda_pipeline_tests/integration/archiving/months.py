"""Months that leave raw_data, and what may still be done about them."""

from datetime import UTC, datetime, timedelta

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.batch.partitions import Days
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.batch.raw_retention import RetentionRun, drop_archived_months
from lambda_pipeline.ingestion.redrive import AS_IT_IS, Fix, Retried, retry_letters
from lambda_pipeline.storage.dead_letters import Choice
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.stream.topic import Topic
from lambda_pipeline_tests.integration.observations import DAY, DAY_AFTER, ZONE, MemoryLog
from lambda_pipeline_tests.servers import Database

RETENTION = timedelta(days=30)
LATER = datetime(2025, 9, 1, tzinfo=UTC)
FLOOR = datetime(2025, 7, 1, tzinfo=UTC)


def drop(database: Database, archive: Archive, now: datetime = LATER) -> RetentionRun:
    return drop_archived_months(database.writer, archive, RETENTION, now)


def results(database: Database) -> list[tuple[object, ...]]:
    return [
        tuple(row)
        for row in database.rows(
            "select hour_start, location, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, "
            "speed_sum_m_h, min_speed, max_speed, ratio_sum_ppb, min_ratio, max_ratio, expected_count, is_peak_hour "
            "from batch_aggregations where hour is not null order by 1, 2"
        )
    ]


def republish(
    database: Database, archive: Archive | None, *, everything: bool = False, days: Days = (DAY, DAY_AFTER)
) -> int:
    hours = hours_to_publish(database.writer, *days, everything=everything)
    store = None if archive is None else archive.store
    return publish_hours(database.writer, hours, ZONE, "again", archive=store).hours


def retry(database: Database, archive: Archive | None, fix: Fix = AS_IT_IS, *ids: int) -> list[Retried]:
    """`dead-letters retry`, of which nothing is to reach Kafka."""

    def send(records: object) -> object:
        raise AssertionError(f"sent to Kafka: {records}")

    topic = Topic("observations", MemoryLog(database)._log_id, (0,))
    merge = None if archive is None else archive.merge
    return list(retry_letters(database.writer, Choice(ids or None), fix, send, topic, merge))  # type: ignore[arg-type]


def judge_anew(database: Database, log: MemoryLog) -> None:
    with transaction(database.writer) as connection:
        log.validator = load_deployment(connection).validator()
