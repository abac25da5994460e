"""Which engine computes a run's hours: PostgreSQL, or one over the archive, for the days that the archive holds."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta

import sqlalchemy as sa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import current_archives
from lambda_pipeline.batch.archived import ArchiveSource
from lambda_pipeline.batch.engines.duckdb import DuckdbEngine
from lambda_pipeline.batch.engines.engine import ArchiveEngine
from lambda_pipeline.batch.engines.spark import SparkEngine
from lambda_pipeline.batch.publish import HourToPublish
from lambda_pipeline.errors import SettingsError
from lambda_pipeline.resources import BatchEngineOptions
from lambda_pipeline.storage.engine import transaction

logger = logging.getLogger(__name__)
AUTO_ROWS = 1_000_000
"""Raw rows of archived days from which on `auto` asks the archive; docs/engines.md has the measurement behind it."""


@contextmanager
def archive_source(
    engine: sa.Engine, archive: Archive | None, options: BatchEngineOptions, hours: Sequence[HourToPublish]
) -> Iterator[ArchiveSource | None]:
    """The engine over the archive that takes part in publishing the hours; None where PostgreSQL does it alone."""
    name = options.engine
    if name == "postgres" or not hours:
        yield None
        return
    if archive is None:
        if name != "auto":
            logger.warning(
                "LAMBDA_BATCH_ENGINE is %s, but LAMBDA_ARCHIVE_URL is not set: PostgreSQL computes all hours.", name
            )
        yield None
        return
    days = archived_days(engine, hours)
    rows = sum(hour.rows for hour in hours if hour.city_date in days)
    if not days or (name == "auto" and rows < AUTO_ROWS):
        logger.info("PostgreSQL computes all hours: %d raw rows of %d days are in the archive", rows, len(days))
        yield None
        return
    made = make_engine("duckdb" if name == "auto" else name, options)
    try:
        yield ArchiveSource(archive, made, days)
    finally:
        made.close()


def archived_days(engine: sa.Engine, hours: Sequence[HourToPublish]) -> list[date]:
    """The days of these hours that the archive holds as raw_data does. Each prepare looks again."""
    wanted = {hour.city_date for hour in hours if hour.city_date is not None}
    if not wanted:
        return []
    with transaction(engine, "REPEATABLE READ", read_only=True) as connection:
        found = current_archives(connection, min(wanted), max(wanted) + timedelta(days=1))
    return [one.city_date for one in found if one.city_date in wanted]


def make_engine(name: str, options: BatchEngineOptions) -> ArchiveEngine:
    """An engine over the archive by its name. Raises SettingsError."""
    if name == "duckdb":
        return DuckdbEngine(options.duckdb_memory_mb, options.duckdb_threads)
    if name == "spark":
        return SparkEngine(options.spark_master, options.spark_driver_host, options.spark_memory_mb)
    raise SettingsError(f"LAMBDA_BATCH_ENGINE: there is no engine {name!r}.", "Write postgres, duckdb, spark or auto.")
