"""When the job runs: every hour and every night, in the city's time.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from lambda_pipeline.automation.jobs import publish_config


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
