"""The backfill that the command line starts: a run like any other, in this process.

Its events go to Dagster's storage as they come, so that the UI shows the partitions as materialized, and memory does
not grow with the range.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._core.execution.api import execute_run_iterator
from dagster_postgres.utils import DagsterPostgresException

from lambda_pipeline.automation.jobs import (
    ARCHIVE_JOB_NAME,
    JOB_NAME,
    archive_config,
    build_archive_job,
    build_job,
    publish_config,
    resources,
)
from lambda_pipeline.automation.workers import end_dead_runs
from lambda_pipeline.batch.archive import RAW_ARCHIVE, build_archive, build_archive_check
from lambda_pipeline.batch.assets import ASSET_NAMES, build_assets
from lambda_pipeline.batch.checks import build_checks
from lambda_pipeline.batch.partitions import range_tags
from lambda_pipeline.batch.progress import Progress
from lambda_pipeline.batch.surroundings import SURROUNDINGS
from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.errors import BatchRunFailedError, DatabaseUnavailableError


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """An asset check that did not pass: what it found, and whether that is an error or a warning."""

    asset: str
    name: str
    text: str
    is_error: bool


@dataclass
class BackfillReport:
    """What a backfill did. `assets` holds each asset's metadata, `partitions` how many days of it are materialized."""

    run_id: str
    seconds: float = 0.0
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    partitions: dict[str, int] = field(default_factory=dict)
    failed_checks: list[FailedCheck] = field(default_factory=list)


def run_backfill(
    city: City,
    history_start: date,
    first: date,
    until: date,
    *,
    assets: Sequence[str] = ASSET_NAMES,
    everything: bool = False,
    accept_loss: bool = False,
    closed_only: bool = False,
    progress: Progress | None = None,
) -> BackfillReport:
    """Materialize the city days [first, until) of some assets, or the batch layer's five, in one run in this process.

    `raw_archive` by itself is a run of its own job, beside which the days may be recomputed.

    DAGSTER_HOME must be set. Errors of the assets pass through; BatchRunFailedError where a blocking check fails.
    """
    raised: list[BaseException] = []

    @dg.failure_hook(name="remember")
    def remember(context: dg.HookContext) -> None:
        if context.op_exception is not None:
            raised.append(context.op_exception)

    hooks = frozenset({remember})
    only_archive = list(assets) == [RAW_ARCHIVE]
    definitions = dg.Definitions(
        assets=[
            *SURROUNDINGS, *build_assets(city.timezone, history_start), build_archive(city.timezone, history_start),
        ],
        asset_checks=[
            *build_checks(city.timezone, history_start), build_archive_check(city.timezone, history_start),
        ],
        jobs=[build_archive_job(hooks) if only_archive else build_job(tuple(assets), hooks)],
        resources=resources(accept_loss=accept_loss, progress=progress),
    )  # fmt: skip
    resolved = definitions.resolve_job_def(ARCHIVE_JOB_NAME if only_archive else JOB_NAME)
    ops: dict[str, object] = {}
    if "hourly_aggregations" in assets:
        ops |= publish_config(everything=everything, closed_only=closed_only)["ops"]
    if RAW_ARCHIVE in assets:
        ops |= archive_config(everything=everything)["ops"]
    started = time.monotonic()
    with _instance() as instance:
        end_dead_runs(instance)
        run = instance.create_run_for_job(
            job_def=resolved,
            run_config={"ops": ops, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={**range_tags(first, until), "lambda_pipeline/why": "lambda-pipeline backfill"},
        )
        report = BackfillReport(run.run_id)
        for event in execute_run_iterator(InMemoryJob(resolved), run, instance):
            _take_in(report, event)
        finished = instance.get_run_by_id(run.run_id)
    report.seconds = time.monotonic() - started
    if raised and not isinstance(raised[0], DagsterAssetCheckFailedError):
        raise _own_error(raised[0])
    if finished is None or not finished.is_success:
        errors = [one for one in report.failed_checks if one.is_error]
        why = " ".join(f"{one.asset}: {one.name}: {one.text}" for one in errors) or "See its log in Dagster's UI."
        raise BatchRunFailedError(
            f"run {report.run_id[:8]} failed. {why}", "What the check found must be mended first."
        )
    return report


def _take_in(report: BackfillReport, event: dg.DagsterEvent) -> None:
    if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
        materialization = event.step_materialization_data.materialization
        name = materialization.asset_key.path[-1]
        report.partitions[name] = report.partitions.get(name, 0) + 1
        report.assets[name] = {key: value.value for key, value in materialization.metadata.items()}
    elif event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        found = event.asset_check_evaluation_data
        if not found.passed:
            is_error = found.severity is dg.AssetCheckSeverity.ERROR
            report.failed_checks.append(
                FailedCheck(found.asset_key.path[-1], found.check_name, found.description or "", is_error)
            )


def _own_error(error: BaseException) -> BaseException:
    """What an asset raised, out of Dagster's wrapping."""
    while isinstance(error, dg.DagsterError) and error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    try:
        instance = dg.DagsterInstance.get()
    except (DagsterPostgresException, sa.exc.DBAPIError) as error:
        cause = error.__cause__ or error  # it has tried for a while
        first = str(getattr(cause, "orig", cause)).strip().splitlines()[0]
        raise DatabaseUnavailableError(
            f"Dagster's database is not answering: {first}", "Is it running, and is LAMBDA_DAGSTER_DATABASE_URL right?"
        ) from error
    with instance:
        yield instance
