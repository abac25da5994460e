"""The filled database on an embedded PostgreSQL: in a temporary home, or in a folder that is kept and used again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.observations import make_city
from benchmarks.servers import EMPTY, Database, make_template, running_postgres
from benchmarks.serving.fill import Filled, describe, fill
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.storage.engine import make_engine
from lambda_pipeline.storage.migrate import newest_version, upgrade


@contextmanager
def filled_database(
    locations: int, days: int, keep: Path | None, say: Callable[[str], None]
) -> Iterator[tuple[Database, Filled]]:
    """Start the server, fill a database or find it filled, and stop the server afterwards.

    A folder that is kept is used again while its database has the newest schema. Its hours stay where they were when
    it was filled.
    """
    with running_postgres(keep) as (_, postgres):
        yield _find_or_fill(postgres, locations, days, say)


def _find_or_fill(
    postgres: EmbeddedPostgres, locations: int, days: int, say: Callable[[str], None]
) -> tuple[Database, Filled]:
    name = f"serving_{locations}_{days}_{newest_version()}"
    database = Database(postgres, name)
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        known = {str(row[0]) for row in connection.execute("select datname from pg_database")}
        if EMPTY not in known:
            make_template(postgres, make_city(locations))
        if name in known:
            (filled_at,) = connection.execute(
                "select shobj_description(oid, 'pg_database') from pg_database where datname = %s", (name,)
            ).fetchone() or (None,)
            if filled_at is not None:
                say(f"using what was filled at {filled_at}")
                _replace_views(database)
                open_hour = datetime.fromisoformat(filled_at).replace(minute=0, second=0, microsecond=0)
                return database, describe(database, days, open_hour)
        quoted = sql.Identifier(name)
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(quoted))
        connection.execute(sql.SQL("create database {} template {}").format(quoted, sql.Identifier(EMPTY)))
        now = datetime.now(UTC)
        say(f"filling {name}: {days} days of {locations:,} locations")
        filled = fill(database, days, now)
        connection.execute(sql.SQL("comment on database {} is {}").format(quoted, sql.Literal(now.isoformat())))
    return database, filled


def _replace_views(database: Database) -> None:
    """The views are this version's, whichever one filled the tables."""
    engine = make_engine(database.url(), "benchmark")
    try:
        upgrade(engine)
    finally:
        engine.dispose()
