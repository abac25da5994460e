"""What each role may do: the lists are complete, the reader changes nothing, the writer nothing but rows."""

import pytest
import sqlalchemy as sa

from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.observations import MemoryLog, seen
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

TABLES = [
    "catch_up", "observed_peak_rules", "daemons", "raw_archives", "archive_leftovers", "raw_floor",
    "deployment", "locations", "aqi_bands", "traffic_levels", "peak_windows", "log_partitions", "stream_offsets",
    "raw_frontier", "log_gaps", "dead_letters", "raw_data", "raw_hours", "batch_coverage", "published_hours",
    "computed_days", "batch_aggregations", "city_hourly", "peak_hours_analysis", "peak_hours", "realtime_data",
    "realtime_hourly", "latest_observations", "raw_data_duplicates", "raw_data_rejects", "schema_version",
]  # fmt: skip
VIEWS = [
    "served_hourly", "served_city_hourly", "hourly_profile", "served_daily", "served_observations",
    "current_conditions", "observed_peak_hours", "daily_summary", "traffic_data", "aqi_data", "measure_bands",
]  # fmt: skip


def run(engine: sa.Engine, statement: str) -> None:
    with transaction(engine) as connection:
        connection.execute(sa.text(statement))


def denied(engine: sa.Engine, statement: str) -> bool:
    """Whether PostgreSQL refuses a statement for want of rights."""
    try:
        run(engine, statement)
    except sa.exc.ProgrammingError as error:
        return "permission denied" in str(error) or "must be owner" in str(error)
    return False


def test_the_lists_of_tables_and_views_are_complete(database: Database) -> None:
    query = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = any(:kinds)"
    partitions = "and not relispartition"
    assert {row.relname for row in database.rows(f"{query} {partitions}", kinds=["r", "p"])} == set(TABLES)
    assert {row.relname for row in database.rows(query, kinds=["v"])} == set(VIEWS)


def test_the_reader_reads_everything(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0))
    log.store()
    for name in TABLES + VIEWS:
        run(database.reader, f"select count(*) from {name}")


CHANGES = ["truncate {}", "drop table {}", "alter table {} add column mine int", "create index on {} ((1))"]


@pytest.mark.parametrize("statement", ["insert into {} default values", "delete from {}", *CHANGES])
def test_the_reader_writes_nothing(database: Database, statement: str) -> None:
    assert [table for table in TABLES if not denied(database.reader, statement.format(table))] == []


@pytest.mark.parametrize(
    "statement",
    [
        "create table mine (id int)",
        "create view mine as select 1",
        "create schema mine",
        "create function mine() returns int language sql return 1",
        "select ensure_raw_partition(now())",
        "select nextval('publication_sequence')",
        "set role lambda_writer",
        "set role lambda_owner",
        "copy deployment to program 'cat'",
    ],
)
def test_the_reader_creates_nothing_and_becomes_nobody_else(database: Database, statement: str) -> None:
    assert denied(database.reader, statement)


@pytest.mark.parametrize("statement", CHANGES)
def test_the_writer_changes_no_table_as_such(database: Database, statement: str) -> None:
    assert [table for table in TABLES if not denied(database.writer, statement.format(table))] == []


@pytest.mark.parametrize(
    "statement",
    [
        "create table mine (id int)",
        "create table mine partition of raw_data for values from ('2000-01-01') to ('2001-01-01')",
        "create schema mine",
        "update schema_version set version_num = '0000'",
        "set role lambda_owner",
        "copy deployment to program 'cat'",
    ],
)
def test_the_writer_creates_nothing_and_becomes_nobody_else(database: Database, statement: str) -> None:
    assert denied(database.writer, statement)


def test_the_writer_gets_the_months_of_raw_data_that_it_needs(database: Database) -> None:
    for _ in range(2):
        run(database.writer, "select ensure_raw_partition('2025-06-15T12:00Z')")
    found = database.rows("select relname from pg_class where relispartition and relkind = 'r'")
    assert [row.relname for row in found] == ["raw_data_2025_06"]
    assert denied(database.writer, "drop table raw_data_2025_06")
    assert denied(database.writer, "truncate raw_data_2025_06")
