"""The batch layer's assets: a window, one call, and what it did as metadata.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime

import dagster as dg
import sqlalchemy as sa

from lambda_pipeline.batch.days import DayTable, compute_days
from lambda_pipeline.batch.partitions import city_days, window
from lambda_pipeline.batch.publish import ENGINE, hours_to_publish, publish_hours
from lambda_pipeline.batch.raw_data import advance_raw_data
from lambda_pipeline.domain.city_time import HOUR
from lambda_pipeline.resources import DatabaseResource, LogResource
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.sql import sql

# Backfill policies are "beta" in Dagster 1.13, which it says at every single asset.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

ASSET_NAMES = ("raw_data", "hourly_aggregations", "daily_aggregations", "peak_hours_analysis", "peak_hours")


class PublishConfig(dg.Config):
    """`everything` publishes also the hours whose result is up to date, e.g. after a rule of the domain changed."""

    everything: bool = False
    closed_only: bool = False  # leave the hour that is not over yet to the speed layer


def build_assets(timezone: str, history_start: date) -> Sequence[dg.AssetsDefinition]:
    """The five assets of a city, partitioned by its days."""
    partitions = city_days(timezone, history_start)
    policy = dg.BackfillPolicy.single_run()

    @dg.asset(
        name="raw_data", group_name="batch_history", kinds={"kafka", "postgres"}, deps=["realtime_data"],
        partitions_def=partitions, backfill_policy=policy,
        description="Every record that the log ever held, stored once, up to a frontier per log partition. "
        "A run stores whatever is new, whichever day it belongs to, and reports the rows of its own days.",
    )  # fmt: skip
    def raw_data(
        context: dg.AssetExecutionContext, database: DatabaseResource, log: LogResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        first, until = window(context)
        with _engine(database) as engine:
            run = advance_raw_data(engine, log.connection(), log.topic(), accept_loss=log.accept_loss)
            rows = _count(engine, "batch/count_raw", first, until)
        positions = {name: f"{start} to {end}" for name, (start, end) in run.positions.items()}
        context.log.info("stored %d of %d new records; positions %s", run.stored, run.records, positions)
        return dg.MaterializeResult(
            metadata={
                **_window_metadata(first, until, rows),
                "records_read": run.records,
                "records_stored": run.stored,
                "dead_letters": run.dead_letters,
                "positions": dg.MetadataValue.json(positions),
            }
        )

    @dg.asset(
        name="hourly_aggregations", group_name="batch_results", kinds={"postgres"}, deps=[raw_data],
        partitions_def=partitions, backfill_policy=policy,
        description="The hours of the days, aggregated per location and published: from then on they are served by "
        "the batch layer, and the speed layer holds only what came after. Only stale hours, unless all are asked for.",
    )  # fmt: skip
    def hourly_aggregations(
        context: dg.AssetExecutionContext, config: PublishConfig, database: DatabaseResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        first, until = window(context)
        with _engine(database) as engine:
            hours = hours_to_publish(engine, first, until, everything=config.everything)
            if config.closed_only:
                now = datetime.now(UTC)
                hours = [hour for hour in hours if hour.hour_start + HOUR <= now]
            run = publish_hours(engine, hours, timezone, context.run_id)
            rows = _count(engine, "batch/count_hourly", first, until)
        context.log.info("published %d hours of %d raw rows, %d left the speed layer", run.hours, run.rows, run.moved)
        return dg.MaterializeResult(
            metadata={
                **_window_metadata(first, until, rows),
                "hours_published": run.hours,
                "raw_rows": run.rows,
                "moved_from_speed": run.moved,
                "prepared_again": run.prepared_again,
                "engine": ENGINE,
            }
        )

    return [
        raw_data,
        hourly_aggregations,
        _day_asset(
            "daily_aggregations", hourly_aggregations, partitions, policy,
            "The days per location, with their peak hours split off, from the published hours.",
        ),
        _day_asset(
            "peak_hours_analysis", hourly_aggregations, partitions, policy,
            "Average traffic level and AQI per location and hour, with the peak flag, as the first system kept them.",
        ),
        _day_asset(
            "peak_hours", hourly_aggregations, partitions, policy,
            "The worst hour and place of each day, for AQI and for traffic.",
        ),
    ]  # fmt: skip


def _day_asset(
    table: DayTable,
    upstream: dg.AssetsDefinition,
    partitions: dg.PartitionsDefinition,
    policy: dg.BackfillPolicy,
    description: str,
) -> dg.AssetsDefinition:
    @dg.asset(
        name=table, group_name="batch_results", kinds={"postgres"}, deps=[upstream],
        partitions_def=partitions, backfill_policy=policy, description=description,
    )  # fmt: skip
    def day_table(context: dg.AssetExecutionContext, database: DatabaseResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        first, until = window(context)
        with _engine(database) as engine:
            rows = compute_days(engine, table, first, until, context.run_id)
        return dg.MaterializeResult(metadata=_window_metadata(first, until, rows))

    return day_table


@contextmanager
def _engine(database: DatabaseResource) -> Iterator[sa.Engine]:
    engine = database.engine()
    try:
        yield engine
    finally:
        engine.dispose()


def _count(engine: sa.Engine, query: str, first: date, until: date) -> int:
    with transaction(engine, read_only=True) as connection:
        return int(connection.execute(sql(query), {"first": first, "until": until}).scalar_one())


def _window_metadata(first: date, until: date, rows: int) -> dict[str, dg.MetadataValue]:
    return {
        "dagster/row_count": dg.MetadataValue.int(rows),
        "window": dg.MetadataValue.text(f"{first.isoformat()} up to before {until.isoformat()}, city days"),
    }


REALTIME_DATA = dg.AssetSpec(
    "realtime_data",
    group_name="speed",
    kinds={"kafka", "postgres"},
    description="What the speed daemon consumed and no publish contains yet. Filled continuously by "
    "`lambda-pipeline speed`, outside Dagster.",
)
