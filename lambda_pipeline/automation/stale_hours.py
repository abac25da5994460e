"""The sensor that catches up: days with stale closed hours are recomputed without anyone acting.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from lambda_pipeline.automation.jobs import ARCHIVE_JOB_NAME, publish_config
from lambda_pipeline.automation.workers import end_dead_runs
from lambda_pipeline.batch.catch_up import load_attempts, plan, save_attempts, stale_days
from lambda_pipeline.batch.partitions import days_of_tags, each_day, range_tags
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.errors import TransientError
from lambda_pipeline.resources import DatabaseResource

_EVERY = 30  # seconds
_RUN_KEY_TAG = "dagster/run_key"
_TAGS = {"lambda_pipeline/why": "stale hours", "dagster/max_retries": "0"}  # tried again here, and less and less often
_UNFINISHED = [*IN_PROGRESS_RUN_STATUSES, dg.DagsterRunStatus.QUEUED]


def build_stale_hours_sensor(
    job: UnresolvedAssetJobDefinition, timezone: str, history_start: date
) -> dg.SensorDefinition:
    """One run per contiguous group of stale days, a few a tick; what is not requested is explained in a SkipReason."""
    clock = CityClock(timezone)

    @dg.sensor(
        name="stale_hours", job=job, minimum_interval_seconds=_EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Recomputes days with closed hours that are stale by position: late events, missed and failed "
        "runs, imports. Waits until a day settles; tries what fails ever less often.",
    )  # fmt: skip
    def stale_hours(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SensorResult | dg.SkipReason:
        for run_id in end_dead_runs(context.instance):
            context.log.warning("run %s had no process any more: it counts as failed", run_id)
        now = datetime.now(UTC)
        engine = database.engine()
        try:
            tomorrow = clock.city_date(now) + timedelta(days=1)
            found = stale_days(engine, now)
            stale = [one for one in found if history_start <= one.day < tomorrow]
            known = load_attempts(engine)
            keys = {one.run_key for one in known.values() if one.run_key is not None}
            planned = plan(stale, known, _running(context.instance), _succeeded(context.instance, keys), now)
            save_attempts(engine, planned.days)
        except TransientError as error:
            return dg.SkipReason(str(error))
        finally:
            engine.dispose()
        requests = [
            dg.RunRequest(
                run_key=one.key,
                tags={**range_tags(one.first, one.until), **_TAGS},
                run_config=publish_config(everything=False, closed_only=True),
            )
            for one in planned.requests
        ]
        if requests:
            return dg.SensorResult(run_requests=requests)
        early = [one.day for one in found if one.day < history_start]
        if early and not stale:
            return dg.SkipReason(
                f"{len(early)} stale days from {early[0]} on are before LAMBDA_HISTORY_START ({history_start}): "
                "lower the setting to that day."
            )
        return dg.SkipReason(planned.reason)

    return stale_hours


def _running(instance: dg.DagsterInstance) -> set[date]:
    """City days that some run queues for or works on. Archiving them recomputes nothing."""
    days: set[date] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        found = None if run.job_name == ARCHIVE_JOB_NAME else days_of_tags(run.tags)
        if found is not None:
            days.update(each_day(*found))
    return days


def _succeeded(instance: dg.DagsterInstance, keys: Iterable[str]) -> set[str]:
    """Of these run keys those whose run ended well."""
    return {
        key
        for key in keys
        if any(
            run.status is dg.DagsterRunStatus.SUCCESS
            for run in instance.get_runs(dg.RunsFilter(tags={_RUN_KEY_TAG: key}), limit=1)
        )
    }
