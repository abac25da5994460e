"""What is removed when it is old: dead letters, what Dagster keeps of superseded runs, archived months of raw_data.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from lambda_pipeline.automation.workers import signing_executor
from lambda_pipeline.batch.assets import open_engine
from lambda_pipeline.batch.raw_retention import drop_archived_months, refuse_short
from lambda_pipeline.errors import SettingsError
from lambda_pipeline.resources import ArchiveResource, DatabaseResource, LogResource
from lambda_pipeline.storage.dead_letters import prune_letters
from lambda_pipeline.storage.engine import retrying, transaction
from lambda_pipeline.storage.sql import sql
from lambda_pipeline.stream.topic import find_retention, find_topic

MAINTENANCE = "maintenance"
_AT_ONCE = 5_000  # rows of one transaction
_MOST_SECONDS = 600.0  # of an op; the next night goes on
_MATERIALIZED = dg.DagsterEventType.ASSET_MATERIALIZATION
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def build_maintenance_job(
    dead_letter_days: int, run_days: int, raw_retention: timedelta | None = None
) -> dg.JobDefinition:
    """Remove what is older than so many days: dead letters (LAMBDA_DEAD_LETTER_DAYS), runs (LAMBDA_RUN_DAYS).

    And months of raw_data that are archived (LAMBDA_RAW_RETENTION_DAYS; None: none of them).
    """

    @dg.op(name="prune_dead_letters", description=f"Dead letters older than {dead_letter_days} days, or sent again.")
    def prune_dead_letters(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
        engine = database.engine()

        def prune() -> int:
            with transaction(engine) as connection:
                return prune_letters(connection, dead_letter_days, _AT_ONCE)

        try:
            context.add_output_metadata({"removed": _repeat(lambda: retrying(prune))})
        finally:
            engine.dispose()

    @dg.op(name="prune_runs", description=f"Dagster's runs and events older than {run_days} days, where superseded.")
    def prune_old_runs(context: dg.OpExecutionContext) -> None:
        before = datetime.now(UTC) - timedelta(days=run_days)
        runs, kept = prune_runs(context.instance, before)
        events = prune_events(context.instance, run_days)
        context.add_output_metadata({"runs_removed": runs, "runs_kept": kept, "events_removed": events})

    @dg.op(
        name="drop_archived_months",
        description="No month of raw_data: LAMBDA_RAW_RETENTION_DAYS is not set." if raw_retention is None else
        f"Months of raw_data older than {raw_retention.days} days, each only when the archive of all its days was read "
        "back and is what raw_data holds.",
    )  # fmt: skip
    def drop_months(
        context: dg.OpExecutionContext, database: DatabaseResource, archive: ArchiveResource, log: LogResource
    ) -> None:
        if raw_retention is None:
            return
        with open_engine(database) as engine:
            kept = archive.of(engine)
            if kept is None:
                raise SettingsError(
                    "LAMBDA_RAW_RETENTION_DAYS is set, but LAMBDA_ARCHIVE_URL is not.", "Name a place for the archive."
                )
            connection = log.connection()
            if find_topic(connection, log.topic()) is not None:
                refuse_short(raw_retention, find_retention(connection, log.topic()))
            run = drop_archived_months(engine, kept, raw_retention, datetime.now(UTC))
        for month, reason in run.kept.items():
            context.log.warning("raw_data keeps %s: %s", month, reason)
        context.add_output_metadata({"dropped": ", ".join(run.dropped) or "nothing", "kept": dict(run.kept)})

    @dg.job(
        name=MAINTENANCE, executor_def=signing_executor,
        description="Remove what is old: dead letters, runs and events, and of raw_data what the archive holds. "
        "What is served stays the same.",
    )  # fmt: skip
    def maintenance() -> None:
        prune_dead_letters()
        prune_old_runs()
        drop_months()

    return maintenance


def build_maintenance_schedule(job: dg.JobDefinition, timezone: str) -> dg.ScheduleDefinition:
    """Every night at 03:30 city time, after the daily run."""
    return dg.ScheduleDefinition(
        name=MAINTENANCE, job=job, cron_schedule="30 3 * * *", execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="At 03:30 city time: remove old dead letters, runs and events, and archived months of raw_data.",
    )  # fmt: skip


def prune_runs(instance: dg.DagsterInstance, before: datetime) -> tuple[int, int]:
    """Delete the ended runs that were created before (aware); returns how many, and how many of those old ones stay.

    A run goes with its events, and Dagster knows that a day is materialized by the event alone. So the run that
    materialized an asset's day last stays, or old days would look as if nobody had ever computed them.
    """
    newest: set[int] = set()
    for key in instance.get_asset_keys():
        newest.update(instance.event_log_storage.get_latest_storage_id_by_partition(key, _MATERIALIZED).values())
    begun, removed, kept = time.monotonic(), 0, 0
    for run_id in instance.get_run_ids(dg.RunsFilter(statuses=_ENDED, created_before=before)):
        if time.monotonic() - begun > _MOST_SECONDS:
            break
        records = instance.get_records_for_run(run_id, of_type=_MATERIALIZED).records
        if any(record.storage_id in newest for record in records):
            kept += 1
            continue
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        removed += 1
    return removed, kept


def prune_events(instance: dg.DagsterInstance, days: int) -> int:
    """Delete what sensors noted outside of runs, and executions of checks, older than so many days; returns how many.

    There is no call of Dagster's for it, so this knows its tables; its version is pinned.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError(f"Dagster's events are in {type(storage).__name__}, of which no table is known.")

    def prune(name: str) -> int:
        with storage.index_transaction() as connection:
            return connection.execute(sql(f"dagster/{name}"), {"days": days, "limit": _AT_ONCE}).rowcount

    return sum(_repeat(lambda name=name: prune(name)) for name in ("prune_runless", "prune_checks"))  # type: ignore[misc]


def _repeat(step: Callable[[], int]) -> int:
    """Take step after step until one removes nothing, or it takes too long; how much they removed in all."""
    begun, total = time.monotonic(), 0
    while time.monotonic() - begun < _MOST_SECONDS and (removed := step()):
        total += removed
    return total
