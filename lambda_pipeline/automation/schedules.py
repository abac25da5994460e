"""When the jobs run: every hour and every night, in the city's time.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from lambda_pipeline.archive.manifest import stale_archives
from lambda_pipeline.automation.jobs import publish_config
from lambda_pipeline.batch.archive import NO_ARCHIVE
from lambda_pipeline.batch.assets import open_engine
from lambda_pipeline.batch.checks import CHANGED_ONLY
from lambda_pipeline.batch.partitions import Days, range_tags
from lambda_pipeline.errors import TransientError
from lambda_pipeline.resources import ArchiveResource, DatabaseResource

_RUNS_A_NIGHT = 3


def build_schedules(
    job: UnresolvedAssetJobDefinition, timezone: str, history_start: date
) -> Sequence[dg.ScheduleDefinition]:
    """Hourly at five past for the current city day (and the day before in its first hour), daily at 02:00.

    Nothing is asked for before the start of history: there is no such partition.
    """

    @dg.schedule(
        name="hourly", job=job, cron_schedule="5 * * * *", execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="At five past every hour: the current day; in its first hour also the day before.",
    )  # fmt: skip
    def hourly(context: dg.ScheduleEvaluationContext):  # type: ignore[no-untyped-def]
        now = context.scheduled_execution_time
        days = [now.date()] + ([now.date() - timedelta(days=1)] if now.hour == 0 else [])
        for day in days:
            if day < history_start:
                continue
            yield dg.RunRequest(
                run_key=f"hourly-{now.isoformat()}-{day}",
                partition_key=day.isoformat(),
                run_config=publish_config(everything=False, closed_only=True),
                tags=CHANGED_ONLY,  # the daily run's checks look at all of the day
            )

    @dg.schedule(
        name="daily", job=job, cron_schedule="0 2 * * *", execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="At 02:00 city time: the day before, once more, when late observations are in.",
    )  # fmt: skip
    def daily(context: dg.ScheduleEvaluationContext):  # type: ignore[no-untyped-def]
        now = context.scheduled_execution_time
        day = now.date() - timedelta(days=1)
        if day >= history_start:
            yield dg.RunRequest(run_key=f"daily-{day}", partition_key=day.isoformat())

    return [hourly, daily]


def build_archive_schedule(
    job: UnresolvedAssetJobDefinition, timezone: str, history_start: date
) -> dg.ScheduleDefinition:
    """At 02:30, after the daily run: every day that is over and whose archive is stale, so that missed nights and late
    events are caught up with. One run for contiguous days, the newest first, a few a night.
    """

    @dg.schedule(
        name="archive", job=job, cron_schedule="30 2 * * *", execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="At 02:30 city time: the days that are over and whose archive is not what raw_data holds.",
    )  # fmt: skip
    def archive_schedule(
        context: dg.ScheduleEvaluationContext, database: DatabaseResource, archive: ArchiveResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        if not archive.is_configured():
            return dg.SkipReason(NO_ARCHIVE)
        now = context.scheduled_execution_time
        try:
            with open_engine(database) as engine:
                stale = [one.day for one in stale_archives(engine, history_start, now.date())]
        except TransientError as error:
            return dg.SkipReason(str(error))
        groups = list(_contiguous(stale))[::-1][:_RUNS_A_NIGHT]
        if not groups:
            return dg.SkipReason("Every day that is over is archived as raw_data holds it.")
        return [
            dg.RunRequest(run_key=f"archive-{now.date()}-{first}-{until}", tags=range_tags(first, until))
            for first, until in groups
        ]

    return archive_schedule


def _contiguous(days: Iterable[date]) -> Iterator[Days]:
    """Ascending days as half-open ranges."""
    found: list[date] = []
    for day in days:
        if found and day - found[-1] > timedelta(days=1):
            yield found[0], found[-1] + timedelta(days=1)
            found = []
        found.append(day)
    if found:
        yield found[0], found[-1] + timedelta(days=1)
