"""Databases of earlier versions of ours, with data in them: what they serve is the same when they are upgraded."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from lambda_pipeline.batch.days import DAY_TABLES, compute_days
from lambda_pipeline.batch.publish import hours_to_publish
from lambda_pipeline.storage import migrate
from lambda_pipeline.storage.engine import make_engine, transaction
from lambda_pipeline.storage.incoming import driver_connection
from lambda_pipeline.storage.migrate import newest_version, upgrade
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
    HOUR,
    NEXT_HOUR,
    MemoryLog,
    contents,
    publish,
    seen,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

VERSIONS = sorted(script.revision for script in migrate._scripts().walk_revisions())
SERVED = (
    "served_observations", "served_hourly", "served_daily", "served_city_hourly", "city_hourly", "current_conditions",
    "peak_hours", "peak_hours_analysis", "daily_summary", "traffic_data", "aqi_data",
)  # fmt: skip
_COLUMNS = """
select c.relname, array_agg(quote_ident(a.attname) order by a.attname),
    min(quote_ident(a.attname)) filter (where a.attidentity <> '')
from pg_class c
join pg_attribute a on a.attrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
  and c.relname <> 'schema_version' and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
group by c.relname
"""


@pytest.fixture
def filled(database: Database) -> Database:
    """The newest version with two published hours, their day's tables, and what the speed layer holds beside them."""
    log = MemoryLog(database)
    for hour in (HOUR, NEXT_HOUR):
        for place in ("Krukut", "Cinere"):
            log.append(*(seen(at, place, aqi=at, level=3, speeds=(30, 40), hour=hour) for at in (0, 6, 12)))
    log.consume()
    log.store()
    publish(database, HOUR, NEXT_HOUR)
    for table in DAY_TABLES:
        compute_days(database.writer, table, DAY, DAY_AFTER, "test")
    log.append(seen(18, aqi=300), b"{", seen(0, hour=NEXT_HOUR + timedelta(hours=4)))
    log.consume()
    return database


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[sa.Engine]:
    """A database with nothing in it, as the superuser."""
    engine = make_engine(empty_database_url, "test")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_an_earlier_version_serves_the_same_when_it_is_upgraded_and_can_be_gone_on_with(
    filled: Database, empty: sa.Engine, version: str
) -> None:
    with transaction(empty) as connection:
        migrate._run_migrations(connection, migrate._scripts(), version)
    copy_rows(filled.owner, empty)
    done = upgrade(empty)
    assert (done.before, done.after) == (version, newest_version())

    upgraded, served = replace(filled, owner=empty, writer=empty), contents(filled, SERVED)
    assert len(served["served_observations"]) == 14
    assert contents(upgraded, SERVED) == served
    assert hours_to_publish(empty, DAY, DAY_AFTER) == []
    assert len(publish(upgraded, HOUR, NEXT_HOUR)) == 2
    assert contents(upgraded, ("served_hourly",)) == contents(filled, ("served_hourly",))


def copy_rows(source: sa.Engine, target: sa.Engine) -> None:
    """All rows of the tables that both have, in the columns that both have; numbering goes on after them."""
    with transaction(source) as old, transaction(target) as new:
        new.execute(sa.text("set local session_replication_role = replica"))  # tables come in any order
        for month in old.execute(sa.text("select distinct date_trunc('month', timestamp) from raw_data")).scalars():
            new.execute(sa.text("select ensure_raw_partition(:month)"), {"month": month})
        newest = {table: columns for table, columns, _ in old.execute(sa.text(_COLUMNS))}
        for table, columns, identity in new.execute(sa.text(_COLUMNS)).all():
            both = ", ".join(name for name in columns if name in newest.get(table, ()))
            if not both:
                continue
            reader, writer = driver_connection(old).cursor(), driver_connection(new).cursor()
            with (
                reader.copy(f"copy (select {both} from {table}) to stdout") as rows,
                writer.copy(f"copy {table} ({both}) from stdin") as into,
            ):
                for row in rows:
                    into.write(row)
            if identity:
                new.execute(
                    sa.text(
                        f"select setval(pg_get_serial_sequence('{table}', '{identity}'), max({identity})) from {table}"
                    )
                )
