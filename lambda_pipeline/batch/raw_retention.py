"""Dropping months of raw_data that are archived: each read back whole right before, or it stays."""

import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from lambda_pipeline.archive.manifest import load_manifests
from lambda_pipeline.batch.archive import disagreement
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.errors import SettingsError
from lambda_pipeline.storage.deployment import load_city
from lambda_pipeline.storage.engine import is_conflict, transaction

if TYPE_CHECKING:
    from lambda_pipeline.archive.archive import Archive

logger = logging.getLogger(__name__)
_MONTHS = sa.text("select inhrelid::regclass::text from pg_inherits where inhparent = 'raw_data'::regclass order by 1")
_DAYS = sa.text(
    "select distinct city_date from raw_hours "
    "where hour_start < :end and hour_start + interval '1 hour' > :start order by city_date"
)


@dataclass
class RetentionRun:
    """What was dropped, as "2026-01", and which month that is old enough was not, with the reason."""

    dropped: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


def refuse_short(retention: timedelta, topic_retention: timedelta | None) -> None:
    """Raise SettingsError unless raw_data keeps its rows for longer than Kafka keeps the records."""
    if topic_retention is None or retention <= topic_retention:
        kept = "for ever" if topic_retention is None else f"for {topic_retention.total_seconds() / 86_400:g} days"
        raise SettingsError(
            f"LAMBDA_RAW_RETENTION_DAYS is {retention.days}, and the topic keeps its records {kept}: what the log may "
            "still bring must have a place in raw_data. Nothing was dropped.",
            "Set it to more than the topic's retention.ms, or let the topic keep them for less.",
        )


def drop_archived_months(engine: sa.Engine, archive: "Archive", retention: timedelta, now: datetime) -> RetentionRun:
    """Drop the months of raw_data, oldest first, that end before `retention` and whose days are archived.

    A month is one of UTC, and has rows of city days that begin before it or end after it: they count too. Of each:
    1. Every city day that it holds rows of must be over for `retention` at `now` (aware UTC).
    2. Read each day's file back: length, SHA-256, rows, and the sums of raw_data below the offsets that it covers.
    3. In one transaction, under the locks of all who store, serve live or publish, the database looks again: the same
       manifests, no row stored since that they do not cover, every hour published as it is stored, nothing of it in the
       speed layer. Then it drops the month and raises the floor; see `drop_raw_month` in sql/migrations.
    The first month that has to stay ends it: raw_data has no holes.
    """
    run = RetentionRun()
    with transaction(engine, read_only=True) as database:
        clock = CityClock(load_city(database)[1])
        names = list(database.execute(_MONTHS).scalars())
    for name in names:
        start = datetime.strptime(name[-7:], "%Y_%m").replace(tzinfo=UTC)
        end = (start + timedelta(days=32)).replace(day=1)
        if clock.day_start(clock.city_date(end - timedelta(microseconds=1)) + timedelta(days=1)) > now - retention:
            break
        reason = _drop(engine, archive, start, end)
        month = f"{start:%Y-%m}"
        if reason:
            run.kept[month] = reason
            logger.warning("raw_data keeps %s: %s", month, reason)
            break
        run.dropped.append(month)
        logger.info("dropped %s of raw_data, which is in the archive", month)
    return run


def _drop(engine: sa.Engine, archive: "Archive", start: datetime, end: datetime) -> str:
    """Drop a month; or why not, in a sentence."""
    with transaction(engine, read_only=True) as database:
        days = list(database.execute(_DAYS, {"start": start, "end": end}).scalars())
        found = load_manifests(database, days[0], days[-1] + timedelta(days=1)) if days else []
    manifests = {one.city_date: one for one in found}
    for day in days:
        if day not in manifests:
            return f"{day} has no verified archive"
        if text := disagreement(engine, archive, manifests[day]):
            return text
    versions = json.dumps({day.isoformat(): manifests[day].version for day in days})
    statement = sa.text("select drop_raw_month(:start, cast(:versions as jsonb))")
    try:
        with transaction(engine) as database:
            return str(database.execute(statement, {"start": start, "versions": versions}).scalar() or "")
    except sa.exc.DBAPIError as error:
        if not is_conflict(error):
            raise
        return "raw_data was being read for too long; it is tried again"
