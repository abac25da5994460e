"""What runs the assets: a job, its schedules, and the backfill that the command line starts.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

import os
from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster_postgres.utils import DagsterPostgresException

from lambda_pipeline.batch.assets import ASSET_NAMES, PublishConfig, build_assets
from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.errors import DatabaseUnavailableError
from lambda_pipeline.resources import DatabaseResource, LogResource, ServingResource

JOB_NAME = "batch_layer"


def resources(*, accept_loss: bool = False) -> dict[str, object]:
    """The resources that the assets ask for, by name."""
    return {
        "database": DatabaseResource(),
        "log": LogResource(accept_loss=accept_loss),
        "serving": ServingResource(),
    }


def build_job() -> UnresolvedAssetJobDefinition:
    """One job over all five assets. Small hourly runs: in one process, which is twice as quick to start."""
    return dg.define_asset_job(
        JOB_NAME,
        selection=dg.AssetSelection.assets(*ASSET_NAMES),
        executor_def=dg.in_process_executor,
        description="Store what is new, publish the hours that it touches, compute their days.",
    )


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
                run_config=_publish_config(everything=False, closed_only=True),
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


def run_backfill(
    city: City,
    history_start: date,
    first: date,
    until: date,
    *,
    everything: bool = False,
    accept_loss: bool = False,
    closed_only: bool = False,
) -> dict[str, dict[str, object]]:
    """Materialize the city days [first, until) of all five assets in one run, in this process.

    DAGSTER_HOME must be set: the run and its events go to Dagster's storage, so that its UI shows the partitions as
    materialized. Returns the metadata of the run by asset. Errors of the assets pass through.
    """
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    job = build_job()
    definitions = dg.Definitions(
        assets=build_assets(city.timezone, history_start), jobs=[job], resources=resources(accept_loss=accept_loss)
    )
    config = _publish_config(everything=everything, closed_only=closed_only)
    with _instance() as instance:
        result = definitions.resolve_job_def(JOB_NAME).execute_in_process(
            instance=instance,
            run_config={**config, "loggers": {"console": {"config": {"log_level": "WARNING"}}}},
            tags={
                "dagster/asset_partition_range_start": first.isoformat(),
                "dagster/asset_partition_range_end": (until - timedelta(days=1)).isoformat(),
            },
            raise_on_error=True,
        )
    found: dict[str, dict[str, object]] = {}
    for event in result.get_asset_materialization_events():
        materialization = event.materialization
        name = materialization.asset_key.path[-1]
        found[name] = {key: value.value for key, value in materialization.metadata.items()}
    return found


def _instance() -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.get()
    except (DagsterPostgresException, sa.exc.DBAPIError) as error:
        cause = error.__cause__ or error  # it has tried for a while
        first = str(getattr(cause, "orig", cause)).strip().splitlines()[0]
        raise DatabaseUnavailableError(
            f"Dagster's database is not answering: {first}", "Is it running, and is LAMBDA_DAGSTER_DATABASE_URL right?"
        ) from error


def _publish_config(*, everything: bool, closed_only: bool) -> dict[str, object]:
    config = PublishConfig(everything=everything, closed_only=closed_only)
    return {"ops": {"hourly_aggregations": {"config": config.model_dump()}}}
