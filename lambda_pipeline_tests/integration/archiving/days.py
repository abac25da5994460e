"""Days to archive, and what becomes of them."""

from datetime import date, datetime, timedelta
from typing import Any

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.archive.manifest import Manifest, stale_archives
from lambda_pipeline.archive.schema import COLUMNS
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
)
from lambda_pipeline_tests.servers import Database

PLACES = ("Cinere", "GBK, Gelora", "Gunung", "Krukut")
NOW = timedelta()


def rows_of(archive: Archive, manifest: Manifest, **asked: Any) -> list[dict[str, Any]]:
    return [row for batch in archive.read(manifest, **asked) for row in batch.to_pylist()]


def raw_rows(database: Database, day: date = DAY, columns: str = ", ".join(COLUMNS)) -> list[dict[str, Any]]:
    """The same out of the table, JSON as text."""
    found = database.rows(
        f"select {columns.replace('pollutants', 'pollutants::text as pollutants')} from raw_data "
        'where city_date = :day order by location collate "C", timestamp',
        day=day,
    )
    return [dict(row._mapping) for row in found]


def bits(row: dict[str, Any]) -> dict[str, str]:
    """A row in which -0.0 is not 0.0."""
    return {name: str(value) if isinstance(value, datetime) else repr(value) for name, value in row.items()}


def archived(archive: Archive, day: date = DAY) -> Manifest:
    """Archive a day that raw_data holds something of."""
    manifest = archive.write(day, "a run")
    assert manifest is not None
    return manifest


def visible(archive: Archive, day: date = DAY) -> Manifest | None:
    """What a reader would be handed of a day."""
    found = archive.days(day, day + timedelta(days=1))
    return found[0] if found else None


def stale(database: Database, first: date = DAY, until: date = DAY_AFTER) -> list[tuple[date, int]]:
    return [(one.day, one.rows) for one in stale_archives(database.writer, first, until)]


def change(database: Database, *statements: str) -> None:
    with transaction(database.owner) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def leftovers(database: Database) -> list[str]:
    return [row.path for row in database.rows("select path from archive_leftovers order by path")]
