"""Brings a database to the newest schema: numbered SQL files by Alembic, then views and rights, all in one transaction.

One of the first system's databases is brought along in the same transaction: its tables move aside, and their rows
into ours.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from psycopg import errors as pg_errors

from lambda_pipeline.domain.air_quality import AQI_BANDS
from lambda_pipeline.domain.peak_hours import OBSERVED_PEAK_RULES
from lambda_pipeline.domain.traffic import TRAFFIC_LEVELS
from lambda_pipeline.errors import DatabaseUnavailableError, SchemaError
from lambda_pipeline.storage import legacy_tables, locks
from lambda_pipeline.storage.engine import is_conflict, transaction
from lambda_pipeline.storage.legacy_rows import Takeover, TakeoverReport, take_over
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql_text

logger = logging.getLogger(__name__)
VERSION_TABLE = "schema_version"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade did: schema versions before (None: not ours yet) and after, and what it took over if anything."""

    before: str | None
    after: str
    taken: TakeoverReport | None = None


def newest_version() -> str:
    """The schema version that this code works with."""
    head = _scripts().get_current_head()
    if head is None:
        raise SchemaError("the installation has no migrations.", "Reinstall lambda-pipeline.")
    return head


def upgrade(engine: sa.Engine, takeover: Takeover | None = None, *, dry_run: bool = False) -> Upgrade:
    """Upgrade whatever the database holds, in one transaction; a second run changes nothing.

    One of the first system's databases is upgraded only with a `takeover`, which says whose city its rows are.
    With `dry_run` all of it is done and then undone. The engine's user must own the database and its tables, or be a
    superuser. Raises SchemaError for tables that are not ours, and for the first system's without a takeover;
    DatabaseUnavailableError where others use the tables for too long.
    """
    try:
        with transaction(engine) as connection:
            locks.hold_migration(connection)
            done = _upgrade(connection, takeover)
            if dry_run:
                connection.get_transaction().rollback()  # type: ignore[union-attr]
    except (sa.exc.DBAPIError, psycopg.Error) as error:
        if not is_conflict(error):
            raise
        raise DatabaseUnavailableError(
            "the upgrade gave up waiting for others that use the database. Nothing was changed.",
            "Stop the services that use it (also the first system's), and try again.",
        ) from error
    logger.info("schema %s -> %s%s", done.before, done.after, ", undone" if dry_run else "")
    return done


def _upgrade(connection: sa.Connection, takeover: Takeover | None) -> Upgrade:
    scripts = _scripts()
    before = _version(connection)
    old = legacy_tables.OldTables((), ())
    if before is None:
        old = legacy_tables.find_old_tables(connection)
        if old and takeover is None:
            raise SchemaError(
                f"the database is the first system's; it holds {', '.join(old.tables + old.views)}.",
                "Run `lambda-pipeline db upgrade`: it keeps every row.",
            )
        if old:
            legacy_tables.move_aside(connection, old)
    elif before not in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaError(
            f"the database's schema is {before}, which this version of lambda-pipeline does not know.",
            "Run the version that upgraded it, or a newer one.",
        )
    try:
        _run_migrations(connection, scripts)
    except pg_errors.DuplicateTable as error:
        raise _name_taken(error) from error
    try:
        run_script(connection, sql_text("serving/views"), as_role="lambda_owner")
    except (pg_errors.InsufficientPrivilege, pg_errors.InvalidTableDefinition, pg_errors.WrongObjectType) as error:
        raise _name_taken(error) from error  # to replace a view that is not ours
    run_script(connection, sql_text("storage/comments"))
    store_rules(connection)
    run_script(connection, sql_text("storage/rights"))
    if old:
        legacy_tables.grant_reading(connection)
    if legacy_tables.has_old_aggregates(connection):
        run_script(connection, sql_text("legacy/comparison"), as_role="lambda_owner")
    taken = take_over(connection, old.tables, takeover) if old and takeover else None
    after = _version(connection)
    if after is None:
        raise SchemaError("the upgrade left no schema version.")
    return Upgrade(before, after, taken)


def _name_taken(error: Exception) -> SchemaError:
    return SchemaError(
        f"the database holds something else by a name that is ours: {str(error).splitlines()[0]}.",
        "Rename it, or give lambda-pipeline a database of its own (DATABASE_URL).",
    )


def require_newest(engine: sa.Engine) -> None:
    """Raise SchemaError unless the database has this version's schema."""
    with transaction(engine, read_only=True) as connection:
        found = _version(connection)
    if found != newest_version():
        raise SchemaError(
            f"the database's schema is {found or 'missing'}, this version works with {newest_version()}.",
            "Run `lambda-pipeline db upgrade`.",
        )


def store_rules(connection: sa.Connection) -> None:
    """Write the domain's bands and rules to the reference tables that SQL reads."""
    connection.execute(sa.text("delete from aqi_bands"))
    connection.execute(
        sa.text("insert into aqi_bands (upper, category, colour) values (:upper, :category, :colour)"),
        [{"upper": band.upper, "category": band.category, "colour": band.colour} for band in AQI_BANDS],
    )
    connection.execute(sa.text("delete from traffic_levels"))
    connection.execute(
        sa.text("insert into traffic_levels (level, below, name, english) values (:level, :below, :name, :english)"),
        [
            {"level": band.level, "below": band.below, "name": band.name, "english": band.english}
            for band in TRAFFIC_LEVELS
        ],
    )
    connection.execute(sa.text("delete from observed_peak_rules"))
    connection.execute(
        sa.text("insert into observed_peak_rules values (:measure, :share, :least_days, :least_range)"),
        [asdict(rule) for rule in OBSERVED_PEAK_RULES],
    )


def _scripts() -> ScriptDirectory:
    here = Path(__file__).resolve().parent
    return ScriptDirectory(str(here), version_locations=[str(here / "versions")])


def _run_migrations(connection: sa.Connection, scripts: ScriptDirectory, to: str = "head") -> None:
    def up(revision: object, _context: object) -> object:
        return scripts._upgrade_revs(to, revision)  # type: ignore[arg-type]

    environment = EnvironmentContext(Config(), scripts, fn=up)
    environment.configure(connection=connection, version_table=VERSION_TABLE, transaction_per_migration=False)
    environment.run_migrations()


def _version(connection: sa.Connection) -> str | None:
    if connection.execute(sa.text("select to_regclass(:name)"), {"name": VERSION_TABLE}).scalar() is None:
        return None
    version = connection.execute(sa.text(f"select version_num from {VERSION_TABLE}")).scalar()  # noqa: S608
    return None if version is None else str(version)
