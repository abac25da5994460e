"""`raw_archive`: whole days of raw_data as Parquet, where a place for them is set, and its check.

A job of its own, so that it costs the hourly run nothing. No `from __future__ import annotations` here: Dagster reads
the context's annotation at import.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import sqlalchemy as sa

from lambda_pipeline.archive.manifest import Manifest, StaleArchive, stale_archives
from lambda_pipeline.batch import columns
from lambda_pipeline.batch.assets import GROUP, open_engine
from lambda_pipeline.batch.partitions import city_days, days_of_tags, describe_days, each_day, window
from lambda_pipeline.batch.progress import Progress
from lambda_pipeline.batch.surroundings import OWNERS
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.errors import ArchiveDamagedError
from lambda_pipeline.resources import ArchiveResource, DatabaseResource
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.floor import hold_months, raw_floor
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql, sql_text

if TYPE_CHECKING:
    from lambda_pipeline.archive.archive import Archive

RAW_ARCHIVE = "raw_archive"
ARCHIVE_CHECK = "archive_agrees"
NO_ARCHIVE = "No archive is configured (LAMBDA_ARCHIVE_URL)."


class ArchiveConfig(dg.Config):
    """`everything` writes also the days anew whose archive is up to date."""

    everything: bool = False


def build_archive(timezone: str, history_start: date) -> dg.AssetsDefinition:
    """The asset, partitioned by the city's days. Without a place for it, it does nothing, and says so."""

    @dg.asset(
        name=RAW_ARCHIVE, group_name=GROUP, kinds={"parquet"}, owners=OWNERS, deps=["raw_data"], output_required=False,
        partitions_def=city_days(timezone, history_start), backfill_policy=dg.BackfillPolicy.single_run(),
        metadata=columns.column_metadata(columns.RAW_ARCHIVE, "raw_data", columns.RAW_ARCHIVE_LINEAGE),
        description="The days of raw_data as Parquet files in a folder or an object store (LAMBDA_ARCHIVE_URL), sorted "
        "by location and time. Only days that raw_data holds other rows of than their archive, unless all are asked "
        "for. A row of raw_archives makes a file the day's, after it was read back.",
    )  # fmt: skip
    def raw_archive(
        context: dg.AssetExecutionContext,
        config: ArchiveConfig,
        database: DatabaseResource,
        archive: ArchiveResource,
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        days = window(context)
        with open_engine(database) as engine:
            kept = archive.of(engine)
            if kept is None:
                context.log.info("%s Nothing was done.", NO_ARCHIVE)
                return
            stale = stale_archives(engine, *days, everything=config.everything)
            written = [one for one in _write_days(kept, stale, context.run.run_id, progress) if one is not None]
            removed = kept.remove_leftovers()
            found = {one.city_date: one for one in kept.days(*days)}
        for day in each_day(*days):
            context.add_asset_metadata(_describe(found.get(day)), partition_key=day.isoformat())
        rows, size = sum(one.rows for one in written), sum(one.bytes for one in written)
        context.log.info("archived %d rows of %d days in %d bytes at %s", rows, len(written), size, kept.store.place)
        yield dg.MaterializeResult(
            metadata={
                "window": describe_days(days),
                "window_rows": sum(one.rows for one in found.values()),
                "days_written": len(written),
                "rows_written": rows,
                "bytes_written": size,
                "files_removed": removed,
                "place": str(kept.store.place),
            }
        )

    return raw_archive


def build_archive_check(timezone: str, history_start: date) -> dg.AssetChecksDefinition:
    """Whether the archived days of a run, or all of them, are what was written and what raw_data holds."""
    clock = CityClock(timezone)

    @dg.asset_check(
        name=ARCHIVE_CHECK,
        asset=RAW_ARCHIVE,
        description="Each archived day's file is what was written (length, SHA-256), and its rows and sums are those "
        "of raw_data below the offsets that it covers. A day that is not is no archive any more, and written anew.",
    )
    def archive_agrees(
        context: dg.AssetCheckExecutionContext, database: DatabaseResource, archive: ArchiveResource
    ) -> dg.AssetCheckResult:
        tomorrow = clock.city_date(datetime.now(UTC)) + timedelta(days=1)
        days = days_of_tags(context.run.tags) or (history_start, tomorrow)
        with open_engine(database) as engine:
            kept = archive.of(engine)
            if kept is None:
                return dg.AssetCheckResult(passed=True, description=NO_ARCHIVE)
            manifests = kept.days(*days)
            wrong = [text for one in manifests if (text := disagreement(engine, kept, one))]
        text = f"{len(wrong)} of {len(manifests)} archived days are wrong; first: {wrong[0]}" if wrong else (
            f"{len(manifests)} archived days agree with raw_data."
        )  # fmt: skip
        return dg.AssetCheckResult(
            passed=not wrong,
            description=text,
            metadata={"days": len(manifests), "wrong": len(wrong), "window": describe_days(days)},
        )

    return archive_agrees


def disagreement(engine: sa.Engine, archive: "Archive", manifest: Manifest) -> str:
    """What is wrong with a day's archive, in a sentence; an empty one where nothing is.

    Reads all of the file. Rows that raw_data stored since do not count: they make the day stale, not wrong. Of what
    raw_data holds no more, there must be as many rows as `raw_hours` has counted.
    """
    with transaction(engine, read_only=True) as database:
        hold_months(database)
        floor = raw_floor(database)
        contents = database.execute(sql("archive/day_contents"), {"day": manifest.city_date}).one()
        run_script(database, sql_text("batch/plan_by_hash"))
        values = {
            "day": manifest.city_date, "start_at": contents.start_at, "end_at": contents.end_at,
            "covered": json.dumps(dict(manifest.covered)),
        }  # fmt: skip
        stored = dict(database.execute(sql("archive/day_totals"), values).one()._mapping)
        counted = 0 if floor is None else _counted(database, manifest.city_date, floor)
    try:
        found, dropped = archive.examine(manifest, floor)
    except ArchiveDamagedError as error:
        return error.message
    if dropped != counted:
        return f"{manifest.city_date}: of what raw_data holds no more, the archive has {dropped} rows, not {counted}."
    totals = asdict(found)
    differing = [f"{name} {totals[name]}, raw_data {stored[name]}" for name in totals if totals[name] != stored[name]]
    return f"{manifest.city_date}: the archive has {'; '.join(differing)}." if differing else ""


def _counted(database: sa.Connection, day: date, floor: datetime) -> int:
    """The day's rows of hours that end before the floor, as they were counted when they were stored."""
    query = sa.text(
        "select coalesce(sum(rows), 0)::bigint from raw_hours "
        "where city_date = :day and hour_start <= cast(:floor as timestamptz) - interval '1 hour'"
    )
    return int(database.execute(query, {"day": day, "floor": floor}).scalar_one())


def _write_days(
    archive: "Archive", stale: list[StaleArchive], run_id: str, progress: Progress
) -> Iterator[Manifest | None]:
    for number, one in enumerate(stale, 1):
        yield archive.write(one.day, run_id)
        progress.report(RAW_ARCHIVE, number, len(stale))


def _describe(manifest: Manifest | None) -> dict[str, object]:
    """A day's own metadata."""
    if manifest is None:
        return {"dagster/partition_row_count": 0}
    return {"dagster/partition_row_count": manifest.rows, "path": manifest.path, "bytes": manifest.bytes}
