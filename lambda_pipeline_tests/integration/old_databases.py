"""Databases as the first system made them, on both of its branches, and what an upgrade made of their rows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import psycopg
import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.storage.legacy_rows import TableReport, Takeover, TakeoverReport
from lambda_pipeline.storage.migrate import Upgrade, upgrade
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline_tests.servers import HISTORY_START, Database

_PLACE = "id serial primary key, timestamp {time} not null, location varchar(255), latitude numeric, longitude numeric"
_CREATED = "created_at {time} default current_timestamp"
TABLES = {
    "raw_data": f"{_PLACE}, aqi_value integer, traffic_level integer, is_processed boolean default false, {_CREATED}",
    "realtime_data": f"{_PLACE}, aqi_value integer, traffic_level integer, "
    "processing_timestamp {time} default current_timestamp, is_active boolean default true",
    "batch_aggregations": "id serial primary key, date date not null, hour integer, location varchar(255), "
    "avg_aqi numeric, avg_traffic numeric, max_aqi integer, max_traffic integer, min_aqi integer, "
    f"min_traffic integer, data_points_count integer, {_CREATED}, unique (date, hour, location)",
    "peak_hours": "id serial primary key, analysis_date date not null unique, peak_aqi_hour integer, "
    "peak_aqi_value numeric, peak_aqi_location varchar(255), peak_traffic_hour integer, peak_traffic_value numeric, "
    f"peak_traffic_location varchar(255), {_CREATED}",
    "daily_summary": f"date date primary key, avg_aqi_jakarta numeric, max_traffic_level integer, {_CREATED}",
    "traffic_data": f"{_PLACE}, traffic_level integer, current_speed numeric, free_flow_speed numeric, "
    f"is_peak_hour boolean default false, {_CREATED}",
    "aqi_data": f"{_PLACE}, aqi_value integer, aqi_category varchar(50), {_CREATED}",
    "peak_hours_analysis": "id serial primary key, date date not null, hour integer not null, location varchar(255), "
    "avg_traffic_level numeric, avg_aqi_value numeric, is_peak_hour boolean default false, total_records integer, "
    f"{_CREATED}, unique (date, hour, location)",
}
MASTER = ("raw_data", "realtime_data", "batch_aggregations", "peak_hours", "daily_summary")
V2 = ("traffic_data", "aqi_data", "peak_hours_analysis")
LATER_COLUMNS = [
    "alter table raw_data add aqi_category varchar(50), add is_peak_hour boolean default false",
    "alter table realtime_data add aqi_category varchar(50), add is_peak_hour boolean default false",
    "alter table batch_aggregations add is_peak_hour boolean default false",
]
V2_EXTRAS = [
    "create table daily_summary (date date primary key, avg_aqi_jakarta numeric, max_traffic_level integer, "
    "peak_traffic_hour integer, peak_aqi_hour integer)",
    "create index idx_traffic_timestamp on traffic_data (timestamp)",
    "create view raw_data as select t.id, t.timestamp, t.location, t.latitude, t.longitude, a.aqi_value, "
    "t.traffic_level from traffic_data t left join aqi_data a on t.location = a.location "
    "and date_trunc('minute', t.timestamp) = date_trunc('minute', a.timestamp) "
    "where t.timestamp >= now() - interval '1 hour' order by t.timestamp desc limit 100",
]


def old_database(postgres: EmbeddedPostgres, name: str) -> Iterator[Database]:
    """A database with nothing in it, as its owner and as both of our roles."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    owner, writer, reader = (
        make_engine(postgres.url(name, user), "test", BATCH_TIMEOUTS)
        for user in ("postgres", "lambda_writer", "lambda_reader")
    )
    yield Database(postgres, name, owner, writer, reader)
    for engine in (owner, writer, reader):
        engine.dispose()
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)")


def create_old(database: Database, tables: Sequence[str], *more: str, time: str = "timestamptz") -> None:
    """Make tables as the first system did, then run statements."""
    run(database, *(f"create table {table} ({TABLES[table].format(time=time)})" for table in tables), *more)


def run(database: Database, *statements: str) -> None:
    """Run statements as the owner."""
    with transaction(database.owner) as connection:
        for statement in statements:
            run_script(connection, statement)


def insert(database: Database, table: str, *rows: Mapping[str, Any]) -> None:
    """Put rows into an old table, in this order of their ids. Timestamps are texts or datetimes."""
    with transaction(database.owner) as connection:
        for row in rows:
            names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            connection.execute(sa.text(f"insert into {table} ({names}) values ({values})"), dict(row))


def upgraded(database: Database, city: City, history_start: date = HISTORY_START, *, dry_run: bool = False) -> Upgrade:
    """Upgrade as `db upgrade` does."""
    return upgrade(database.owner, Takeover(city, history_start), dry_run=dry_run)


def taken(database: Database, city: City) -> TakeoverReport:
    """Upgrade, and what was taken over."""
    report = upgraded(database, city).taken
    assert report is not None
    assert_adds_up(database, report)
    return report


def fates(report: TakeoverReport) -> dict[str, tuple[int, ...]]:
    """(rows, moved, joined, duplicates, rejected, mended) by table that had rows."""
    return {
        table.table: (table.rows, table.moved, table.joined, table.duplicates, table.rejected, table.mended)
        for table in report.tables
        if table.rows
    }


def assert_adds_up(database: Database, report: TakeoverReport) -> None:
    """The report's numbers are those of the tables before and after, to the last row."""
    for table in report.tables:
        assert table.rows == table.moved + table.joined + table.duplicates + table.rejected
        assert table.rows == database.scalar(f"select count(*) from legacy.{table.table}")
        assert_kept(database, table)
    assert report.observations == database.scalar("select count(*) from raw_data")
    assert report.observations == database.scalar("select coalesce(sum(rows), 0) from raw_hours")
    frontier = database.scalar("select next_offset from raw_frontier f join log_partitions p on p.id = f.log_partition")
    assert frontier == report.observations
    outside = "select count(*) from raw_data where log_offset < 0 or log_offset >= :frontier"
    assert database.scalar(outside, frontier=frontier) == 0
    assert database.scalar("select count(distinct log_offset) from raw_data") == report.observations


def assert_kept(database: Database, table: TableReport) -> None:
    """What the tables of duplicates and rejects hold of an old table, whole."""
    kept = Counter(
        tuple(row)
        for row in database.rows(
            "select 'duplicate', true from raw_data_duplicates where old_table = :table union all "
            "select 'reject', is_stored from raw_data_rejects where old_table = :table",
            table=table.table,
        )
    )
    assert kept[("duplicate", True)] == table.duplicates
    assert (kept[("reject", False)], kept[("reject", True)]) == (table.rejected, table.mended)
    for name in ("raw_data_duplicates", "raw_data_rejects"):
        altered = (
            f"select count(*) from {name} kept left join legacy.{table.table} old on old.id = kept.old_id "
            f"where kept.old_table = '{table.table}' and kept.old_row is distinct from to_jsonb(old)"
        )
        assert database.scalar(altered) == 0


def lost(database: Database, table: str, *measures: str) -> list[tuple[object, ...]]:
    """Rows of an old table that neither raw_data nor the tables beside it hold with all that they said."""
    same = " and ".join(f"(old.{name} is null or new.{name} = old.{name}::double precision)" for name in measures)
    return [
        tuple(row)
        for row in database.rows(
            f"select old.* from legacy.{table} old where not exists (select from raw_data new "
            f"where new.location = old.location and new.timestamp = old.timestamp::timestamptz and {same}) "
            f"and not exists (select from raw_data_duplicates k where k.old_table = '{table}' and k.old_id = old.id) "
            f"and not exists (select from raw_data_rejects k where k.old_table = '{table}' and k.old_id = old.id)"
        )
    ]


def everything(database: Database) -> list[str]:
    """Every relation outside the server's own schemas, with its owner, rights, columns, and every row of a table."""
    with transaction(database.owner) as connection:
        relations = connection.execute(
            sa.text(
                "select c.oid::regclass::text as name, c.relkind::text as kind, format('%s %s %s %s %s', n.nspname, "
                "c.oid::regclass, c.relkind, c.relowner::regrole, c.relacl) || coalesce((select string_agg(format("
                "'%s %s %s', attname, atttypid::regtype, attnotnull), ',' order by attnum) from pg_attribute "
                "where attrelid = c.oid and attnum > 0), '') || coalesce(pg_get_viewdef(case when c.relkind = 'v' "
                "then c.oid end), '') as text from pg_class c join pg_namespace n on n.oid = c.relnamespace "
                "where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1"
            )
        ).all()
        found = [relation.text for relation in relations]
        found += list(connection.execute(sa.text("select nspname || coalesce(nspacl::text, '') from pg_namespace")
                                         ).scalars())  # fmt: skip
        for relation in relations:
            if relation.kind in ("r", "S"):
                row = "t" if relation.kind == "r" else "row(last_value, is_called)"
                rows = connection.execute(sa.text(f"select '{relation.name} ' || {row}::text from {relation.name} t"))
                found += rows.scalars()
    return sorted(text for text in found if not text.startswith(("pg_temp", "pg_toast_temp")))
