"""The engines that must agree with PostgreSQL, and what a prepare gives. A new engine is a line of `ENGINES`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

import sqlalchemy as sa

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.place import Place
from lambda_pipeline.batch.archived import ArchiveSource
from lambda_pipeline.batch.engines.duckdb import DuckdbEngine
from lambda_pipeline.batch.engines.engine import ArchiveEngine
from lambda_pipeline.batch.engines.spark import SparkEngine
from lambda_pipeline.batch.publish import hours_to_publish, prepare
from lambda_pipeline.storage.engine import session, transaction
from lambda_pipeline_tests.servers import Database

ENGINES: Mapping[str, Callable[[], ArchiveEngine]] = {
    "duckdb": lambda: DuckdbEngine(memory_mb=256),
    "spark": lambda: SparkEngine("local[2]", memory_mb=1024),
}
ALL = date(2000, 1, 1), date(2100, 1, 1)
_PREPARED = ("prepared_aggregations", "prepared_cities", "prepared_frontiers")
Prepared = dict[str, list[tuple[object, ...]]]


def archive_all(database: Database, folder: Path) -> Archive:
    """All that raw_data holds, as an archive in a folder."""
    archive = Archive(database.writer, Place("folder", str(folder)))
    for day in days_of(database):
        assert archive.write(day, "a run") is not None
    return archive


def days_of(database: Database) -> list[date]:
    """The city days of which raw_data holds something."""
    return [row.city_date for row in database.rows("select distinct city_date from raw_hours order by 1")]


def all_hours(database: Database) -> list[datetime]:
    """The hours of which raw_data holds something."""
    return [hour.hour_start for hour in hours_to_publish(database.writer, *ALL, everything=True)]


def prepared(
    database: Database, zone: str, source: ArchiveSource | None = None, hours: Sequence[datetime] | None = None
) -> tuple[Prepared, frozenset[datetime]]:
    """What a prepare of the hours, or of all, leaves for the swap; and which hours came from the archive."""
    with session(database.writer) as connection:
        archived = prepare(connection, all_hours(database) if hours is None else hours, zone, source)
        found = {
            table: [tuple(row) for row in connection.exec_driver_sql(f"select * from {table} order by 1, 2")]
            for table in _PREPARED
        }
        connection.rollback()
    return found, archived


def assert_agrees(database: Database, zone: str, folder: Path, engine: ArchiveEngine) -> Prepared:
    """Everything that an engine says of the archived days, to the last bit of every sum, is what PostgreSQL says."""
    archive = archive_all(database, folder)
    by_postgres, none = prepared(database, zone)
    source = ArchiveSource(archive, engine, days_of(database))
    by_engine, archived = prepared(database, zone, source)
    assert (none, archived, source.used.fell_back) == (frozenset(), frozenset(all_hours(database)), [])
    assert source.used.rows == database.scalar("select count(*) from raw_data") > 0
    assert len(by_postgres["prepared_aggregations"]) > 0
    for table in _PREPARED:
        assert by_engine[table] == by_postgres[table], table
    return by_engine


def change(database: Database, *statements: str) -> None:
    """As the owner, past everything that the platform would refuse."""
    with transaction(database.owner) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
