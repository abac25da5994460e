"""The batch layer's assets: a window of days, one call, and what it did as metadata.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import sqlalchemy as sa

from lambda_pipeline.batch import columns
from lambda_pipeline.batch.days import DAY_TABLES, DayTable, compute_days
from lambda_pipeline.batch.observed import describe_observed_peaks
from lambda_pipeline.batch.partitions import Days, city_days, describe_days, each_day, window
from lambda_pipeline.batch.progress import Progress
from lambda_pipeline.batch.publish import ENGINE, HourToPublish, PublishRun, hours_to_publish, publish_hours
from lambda_pipeline.batch.raw_data import advance_raw_data
from lambda_pipeline.batch.raw_parallel import default_readers
from lambda_pipeline.batch.surroundings import LOG, OWNERS
from lambda_pipeline.domain.city_time import HOUR
from lambda_pipeline.resources import ArchiveResource, BatchEngineResource, DatabaseResource, LogResource
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.sql import sql

# Backfill policies are "beta" in Dagster 1.13, which it says at every single asset.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

ASSET_NAMES = ("raw_data", "hourly_aggregations", *DAY_TABLES)
GROUP = "batch_layer"
_DAY_DESCRIPTIONS: dict[DayTable, str] = {
    "daily_aggregations": "The days per location, with their peak hours split off, from the published hours.",
    "peak_hours_analysis": "Average traffic level and AQI per location and hour, with the peak flag, as the first "
    "system kept them. Says also which hours really are the peaks, beside the configured windows.",
    "peak_hours": "The worst hour and place of each day, for AQI and for traffic.",
}


class PublishConfig(dg.Config):
    """`everything` publishes also the hours whose result is up to date, e.g. after a rule of the domain changed."""

    everything: bool = False
    closed_only: bool = False  # leave the hour that is not over yet to the speed layer


def build_assets(timezone: str, history_start: date) -> Sequence[dg.AssetsDefinition]:
    """The five assets of a city, partitioned by its days. A range of days is one run, one pass over the log."""
    partitions = city_days(timezone, history_start)
    return [
        _raw_data(partitions),
        _hourly_aggregations(partitions, timezone),
        *(_day_table(table, partitions) for table in DAY_TABLES),
    ]


def _raw_data(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        name="raw_data", group_name=GROUP, kinds={"kafka", "postgres"}, owners=OWNERS, deps=[LOG],
        partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run(), freshness_policy=_freshness(),
        metadata={"dagster/table_name": "raw_data", **columns.column_metadata(columns.RAW_DATA)},
        description="Every record that the log ever held, stored once, up to a frontier per log partition. "
        "A run stores whatever is new, whichever day it belongs to, and reports the rows of its own days.",
    )  # fmt: skip
    def raw_data(
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        log: LogResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        days = window(context)
        with open_engine(database) as engine:
            run = advance_raw_data(
                engine, log.connection(), log.topic(), accept_loss=log.accept_loss,
                readers=log.readers() or default_readers(),
                on_progress=lambda done, total: progress.report("raw_data", done, total),
            )  # fmt: skip
            described = _describe(context, engine, "raw_data", days)
        positions = {name: f"{start} to {end}" for name, (start, end) in run.positions.items()}
        context.log.info("stored %d of %d new records; positions %s", run.stored, run.records, positions)
        return dg.MaterializeResult(
            metadata={
                **described,
                "records_read": run.records,
                "records_stored": run.stored,
                "dead_letters": run.dead_letters,
                "readers": run.readers,
                "positions": dg.MetadataValue.json(positions),
            }
        )

    return raw_data


def _hourly_aggregations(partitions: dg.PartitionsDefinition, timezone: str) -> dg.AssetsDefinition:
    @dg.asset(
        name="hourly_aggregations", group_name=GROUP, kinds={"postgres"}, owners=OWNERS, deps=["raw_data"],
        partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run(), freshness_policy=_freshness(),
        metadata={
            "dagster/table_name": "batch_aggregations",
            **columns.column_metadata(columns.HOURLY, "raw_data", columns.HOURLY_LINEAGE),
        },
        description="The hours of the days, aggregated per location and published: from then on they are served by "
        "the batch layer, and the speed layer holds only what came after. Only stale hours, unless all are asked for.",
    )  # fmt: skip
    def hourly_aggregations(
        context: dg.AssetExecutionContext,
        config: PublishConfig,
        database: DatabaseResource,
        archive: ArchiveResource,
        batch_engine: BatchEngineResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        days = window(context)
        with open_engine(database) as engine:
            hours = hours_to_publish(engine, *days, everything=config.everything)
            if config.closed_only:
                now = datetime.now(UTC)
                hours = [hour for hour in hours if hour.hour_start + HOUR <= now]
            again = _published_before(engine, [hour.hour_start for hour in hours])
            published = 0

            def on_hour(_hour: object) -> None:
                nonlocal published
                published += 1
                progress.report("hourly_aggregations", published, len(hours))

            run, by = _publish(engine, archive, batch_engine, hours, timezone, context.run.run_id, on_hour)
            described = _describe(context, engine, "hourly_aggregations", days)
        context.log.info("published %d hours of %d raw rows, %d left the speed layer", run.hours, run.rows, run.moved)
        return dg.MaterializeResult(
            metadata={
                **described,
                "hours_published": run.hours,
                "hours_again": again,
                "raw_rows": run.rows,
                "moved_from_speed": run.moved,
                "differing_from_speed": run.parity.differing,
                "prepared_again": run.prepared_again,
                **by,
            }
        )

    return hourly_aggregations


def _day_table(table: DayTable, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    shown, lineage = {
        "daily_aggregations": (columns.DAILY, columns.DAILY_LINEAGE),
        "peak_hours_analysis": (columns.PEAK_HOURS_ANALYSIS, columns.PEAK_HOURS_ANALYSIS_LINEAGE),
        "peak_hours": (columns.PEAK_HOURS, columns.PEAK_HOURS_LINEAGE),
    }[table]

    @dg.asset(
        name=table, group_name=GROUP, kinds={"postgres"}, owners=OWNERS, deps=["hourly_aggregations"],
        partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run(), freshness_policy=_freshness(),
        metadata={
            "dagster/table_name": "batch_aggregations" if table == "daily_aggregations" else table,
            **columns.column_metadata(shown, "hourly_aggregations", lineage),
        },
        description=_DAY_DESCRIPTIONS[table],
    )  # fmt: skip
    def day_table(context: dg.AssetExecutionContext, database: DatabaseResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        days = window(context)
        with open_engine(database) as engine:
            written = compute_days(engine, table, *days, context.run.run_id)
            described = _describe(context, engine, table, days)
            if table == "peak_hours_analysis":
                described["observed_peaks"] = dg.MetadataValue.md(describe_observed_peaks(engine, days[1]))
        return dg.MaterializeResult(metadata={**described, "rows_written": written})

    return day_table


def _publish(
    engine: sa.Engine, archive: ArchiveResource, batch_engine: BatchEngineResource, hours: list[HourToPublish],
    timezone: str, run_id: str, on_hour: Callable[[HourToPublish], None],
) -> tuple[PublishRun, dict[str, Any]]:  # fmt: skip
    """Publish with the engine of the settings, and what it did as metadata."""
    options = batch_engine.options()
    kept = archive.of(engine)
    store = None if kept is None else kept.store
    if options.engine == ENGINE:
        started = time.perf_counter()
        run = publish_hours(engine, hours, timezone, run_id, on_hour, archive=store)
        return run, {"engine": ENGINE, "seconds": time.perf_counter() - started}
    from lambda_pipeline.batch.engines.choice import archive_source  # noqa: PLC0415 - with Arrow and DuckDB

    with archive_source(engine, kept, options, hours) as source:
        started = time.perf_counter()
        run = publish_hours(engine, hours, timezone, run_id, on_hour, source, store)
        seconds = time.perf_counter() - started
        by: dict[str, Any] = {"engine": ", ".join(sorted(run.by_engine)) or ENGINE, "seconds": seconds}
        if source is None:
            return run, by
        used = source.used
        return run, by | {
            "hours_by_engine": dg.MetadataValue.json(dict(run.by_engine)),
            "archived_days_read": used.days,
            "archived_rows_read": used.rows,
            "archived_bytes_read": used.bytes,
            "archive_seconds": used.seconds,
            "engine_is": dg.MetadataValue.json(dict(source.engine.describe())),
            "fell_back": dg.MetadataValue.json(used.fell_back),
        }


def _freshness() -> dg.FreshnessPolicy:
    """Every hour something is published; two runs in a row may fail before it is called late."""
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=6), warn_window=timedelta(hours=3))


@contextmanager
def open_engine(database: DatabaseResource) -> Iterator[sa.Engine]:
    """An engine for as long as a run works with it."""
    engine = database.engine()
    try:
        yield engine
    finally:
        engine.dispose()


def _describe(
    context: dg.AssetExecutionContext, engine: sa.Engine, table: str, days: Days
) -> dict[str, dg.MetadataValue]:
    """Note each day's rows at its own partition; what is said of the whole window is returned."""
    first, until = days
    with transaction(engine, read_only=True) as connection:
        found = connection.execute(sql(f"batch/count_{table}"), {"first": first, "until": until})
        rows = {row.day: int(row.rows) for row in found}
    for day in each_day(first, until):
        context.add_asset_metadata({"dagster/partition_row_count": rows.get(day, 0)}, partition_key=day.isoformat())
    return {
        "window": dg.MetadataValue.text(describe_days(days)),
        "window_rows": dg.MetadataValue.int(sum(rows.values())),
    }


def _published_before(engine: sa.Engine, hours: list[datetime]) -> int:
    """How many of the hours have a result already."""
    query = sa.text("select count(*) from published_hours where hour_start = any(:hours)")
    with transaction(engine, read_only=True) as connection:
        return int(connection.execute(query, {"hours": hours}).scalar_one())
