"""Three roles with exactly their rights: what the database grants, against one matrix, and what goes through.

Whoever adds a table, a function or a role to the schema decides here who may do what with it, or these tests fail.
"""

from contextlib import nullcontext

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors
from psycopg.sql import SQL, Identifier

from lambda_pipeline.storage.migrate import upgrade
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

OWNER, WRITER, READER, ANYBODY = "lambda_owner", "lambda_writer", "lambda_reader", "public"
ROLES = (WRITER, READER)

# What the writer may do with a table beside reading it. The reader reads all of them, anybody else nothing.
WRITES: dict[str, set[str]] = {
    "aqi_bands": set(),
    "archive_leftovers": {"INSERT", "DELETE"},
    "batch_aggregations": {"INSERT", "DELETE"},
    "batch_coverage": {"INSERT", "UPDATE"},
    "catch_up": {"INSERT", "DELETE"},
    "city_hourly": {"INSERT", "UPDATE"},
    "computed_days": {"INSERT", "UPDATE", "DELETE"},
    "daemons": {"INSERT", "UPDATE", "DELETE"},
    "dead_letters": {"INSERT", "UPDATE", "DELETE"},
    "deployment": {"INSERT", "UPDATE"},
    "latest_observations": {"INSERT", "UPDATE"},
    "locations": {"INSERT", "UPDATE"},
    "log_gaps": {"INSERT", "UPDATE"},
    "log_partitions": {"INSERT", "UPDATE"},
    "observed_peak_rules": set(),
    "peak_hours": {"INSERT", "UPDATE"},
    "peak_hours_analysis": {"INSERT", "UPDATE"},
    "peak_windows": {"INSERT", "DELETE"},
    "published_hours": {"INSERT", "UPDATE"},
    "raw_data": {"INSERT"},
    "raw_archives": {"INSERT", "UPDATE"},
    "raw_data_duplicates": set(),
    "raw_data_rejects": set(),
    "raw_floor": set(),
    "raw_frontier": {"INSERT", "UPDATE"},
    "raw_hours": {"INSERT", "UPDATE"},
    "realtime_data": {"INSERT", "DELETE"},
    "realtime_hourly": {"INSERT", "UPDATE", "DELETE"},
    "schema_version": set(),
    "stream_offsets": {"INSERT", "UPDATE"},
    "traffic_levels": set(),
}
VIEWS = {
    "aqi_data", "current_conditions", "daily_summary", "hourly_profile", "measure_bands", "observed_peak_hours",
    "served_city_hourly", "served_daily", "served_hourly", "served_observations", "traffic_data",
}  # fmt: skip
# Sequences of identity columns need no right of their own.
SEQUENCES: dict[str, set[str]] = {"publication_sequence": {"USAGE"}}
# Who may call what runs with the rights of its owner. All other functions run with their caller's, and are anybody's.
AS_OWNER: dict[str, set[str]] = {
    "drop_raw_month(timestamp with time zone,jsonb)": {WRITER},
    "ensure_raw_partition(timestamp with time zone)": {WRITER},
}
FUNCTIONS = {
    "aqi_categories()", "aqi_category(double precision)", "aqi_limits()", "is_peak_hour(integer)",
    "aqi_rank(double precision,double precision[])", "observed_peaks(date,date)", "peak_city_hours()",
    "traffic_rank(double precision)",
}  # fmt: skip

ON_TABLES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN")
MONTH = "raw_data_2025_06"


@pytest.fixture
def upgraded(database: Database) -> Database:
    """The database after an upgrade of its own: a copy of a database has none of its rights."""
    upgrade(database.owner)
    with database.owner.begin() as connection:
        connection.execute(sa.text("select ensure_raw_partition('2025-06-15T12:00Z')"))
    return database


def relations(database: Database, kinds: str) -> set[str]:
    query = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = any(:kinds)"
    return {row.relname for row in database.rows(query, kinds=list(kinds))}


def granted(database: Database, role: str, ask: str, names: set[str], rights: tuple[str, ...]) -> dict[str, set[str]]:
    """Which of these rights the role has on each name; `ask` is PostgreSQL's function that knows."""
    query = (
        "select name, privilege from unnest(cast(:names as text[])) name "
        f"cross join unnest(cast(:rights as text[])) privilege where {ask}(:role, name, privilege)"
    )
    found: dict[str, set[str]] = {name: set() for name in names}
    for row in database.rows(query, role=role, names=sorted(names), rights=list(rights)):
        found[row.name].add(row.privilege)
    return found


def refusal(url: str, statement: str) -> type[psycopg.Error] | None:
    """How PostgreSQL refuses a statement; one that goes through is undone, but for what no transaction takes."""
    is_alone = statement.startswith(("create database", "alter system"))
    with psycopg.connect(url, autocommit=True) as connection:
        try:
            with nullcontext() if is_alone else connection.transaction(force_rollback=True):
                connection.execute(statement)
        except psycopg.Error as error:
            return type(error)
    return None


# ---------------------------------------------------------------- what is granted


def test_every_table_view_sequence_and_function_has_its_decision_here(upgraded: Database) -> None:
    months = {row.relname for row in upgraded.rows("select relname from pg_class where relispartition")}
    assert relations(upgraded, "rp") - months == set(WRITES)
    assert relations(upgraded, "vmf") == VIEWS
    identities = (
        "select pg_get_serial_sequence(c.oid::regclass::text, a.attname) from pg_class c join pg_attribute a "
        "on a.attrelid = c.oid where a.attidentity <> '' and c.relnamespace = 'public'::regnamespace"
    )
    owned = {str(row[0]).rpartition(".")[2] for row in upgraded.rows(identities)}
    assert relations(upgraded, "S") - owned == set(SEQUENCES)
    query = (
        "select oid::regprocedure::text from pg_proc "
        "where pronamespace = 'public'::regnamespace and prosecdef = :as_owner"
    )
    for as_owner, decided in ((True, set(AS_OWNER)), (False, FUNCTIONS)):
        assert {row[0] for row in upgraded.rows(query, as_owner=as_owner)} == decided


@pytest.mark.parametrize("role", [WRITER, READER, ANYBODY])
def test_tables_grant_exactly_this(upgraded: Database, role: str) -> None:
    months = {
        row.relname for row in upgraded.rows("select relname from pg_class where relispartition and relkind = 'r'")
    }
    assert months == {MONTH}
    expected = {name: set() if role == ANYBODY else {"SELECT"} for name in {*WRITES, *VIEWS, *months}}
    if role == WRITER:
        expected = {name: rights | WRITES.get(name, set()) for name, rights in expected.items()}
    assert granted(upgraded, role, "has_table_privilege", set(expected), ON_TABLES) == expected
    of_columns = ("SELECT", "INSERT", "UPDATE", "REFERENCES")
    by_column = {name: rights & set(of_columns) for name, rights in expected.items()}
    assert granted(upgraded, role, "has_any_column_privilege", set(expected), of_columns) == by_column
    grantable = tuple(f"{right} WITH GRANT OPTION" for right in ON_TABLES)
    assert not any(granted(upgraded, role, "has_table_privilege", set(expected), grantable).values())


@pytest.mark.parametrize("role", [WRITER, READER, ANYBODY])
def test_sequences_and_functions_grant_exactly_this(upgraded: Database, role: str) -> None:
    names = relations(upgraded, "S")
    expected = {name: SEQUENCES.get(name, set()) if role == WRITER else set() for name in names}
    assert granted(upgraded, role, "has_sequence_privilege", names, ("USAGE", "SELECT", "UPDATE")) == expected
    calls = {name: {"EXECUTE"} if role in roles else set() for name, roles in AS_OWNER.items()}
    assert granted(upgraded, role, "has_function_privilege", set(AS_OWNER), ("EXECUTE",)) == calls


@pytest.mark.parametrize(
    ("role", "of_schema", "of_database"),
    [
        (OWNER, {"USAGE", "CREATE"}, {"CREATE", "TEMPORARY"}),
        (WRITER, {"USAGE"}, {"TEMPORARY"}),
        (READER, {"USAGE"}, set()),
        (ANYBODY, {"USAGE"}, set()),
    ],
)
def test_the_schema_and_the_database_grant_exactly_this(
    upgraded: Database, role: str, of_schema: set[str], of_database: set[str]
) -> None:
    assert granted(upgraded, role, "has_schema_privilege", {"public"}, ("USAGE", "CREATE")) == {"public": of_schema}
    name = upgraded.name
    assert granted(upgraded, role, "has_database_privilege", {name}, ("CREATE", "TEMPORARY")) == {name: of_database}


@pytest.mark.parametrize("role", [OWNER, WRITER, READER])
def test_no_role_is_a_superuser_or_a_member_of_another(upgraded: Database, role: str) -> None:
    powers = "rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls"
    assert upgraded.scalar(f"select {powers} from pg_roles where rolname = :role", role=role) is False
    member_of = "select count(*) from pg_auth_members where member = cast(:role as regrole)"
    assert upgraded.scalar(member_of, role=role) == 0
    owned = "select count(*) from pg_class where relowner = cast(:role as regrole)"
    assert (upgraded.scalar(owned, role=role) > 0) is (role == OWNER)


def test_an_upgrade_takes_back_what_was_granted_too_much_and_gives_what_a_restore_lost(upgraded: Database) -> None:
    with upgraded.owner.begin() as connection:
        connection.execute(sa.text("grant update, delete on raw_data to lambda_writer"))
        connection.execute(sa.text("grant create on schema public to public"))
        connection.execute(sa.text(f"revoke all on database {upgraded.name} from lambda_writer, lambda_owner"))
        connection.execute(sa.text(f"grant temporary on database {upgraded.name} to public"))
    upgrade(upgraded.owner)
    assert granted(upgraded, WRITER, "has_table_privilege", {"raw_data"}, ("UPDATE", "DELETE")) == {"raw_data": set()}
    assert granted(upgraded, ANYBODY, "has_schema_privilege", {"public"}, ("CREATE",)) == {"public": set()}
    for role, kept in ((OWNER, {"CREATE", "TEMPORARY"}), (WRITER, {"TEMPORARY"}), (READER, set())):
        found = granted(upgraded, role, "has_database_privilege", {upgraded.name}, ("CREATE", "TEMPORARY"))
        assert found == {upgraded.name: kept}


# ---------------------------------------------------------------- what is tried

BY_RIGHT = {
    "INSERT": "insert into {table} ({column}) select {column} from {table} where false",
    "UPDATE": "update {table} set {column} = {column} where false",
    "DELETE": "delete from {table} where false",
    "TRUNCATE": "truncate {table}",
}
AS_ITS_OWNER = (
    "drop table {table} cascade",
    "alter table {table} add column mine integer",
    "alter table {table} owner to {role}",
    "alter table {table} disable trigger all",
    "create index on {table} ({column})",
    "create rule mine as on insert to {table} do instead nothing",
    "reindex table {table}",
    "create trigger mine before insert on {table} for each row execute function suppress_redundant_updates_trigger()",
)


def settable(database: Database) -> dict[str, str]:
    """A column of each table that a statement may set."""
    query = (
        "select c.relname, min(a.attname) as column from pg_class c join pg_attribute a on a.attrelid = c.oid "
        "where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 "
        "and a.attidentity = '' and a.attgenerated = '' and not a.attisdropped group by c.relname"
    )
    return {row.relname: row.column for row in database.rows(query)}


@pytest.mark.parametrize("role", ROLES)
def test_a_statement_goes_through_if_and_only_if_its_right_is_granted(upgraded: Database, role: str) -> None:
    allowed, found = {}, {}
    with psycopg.connect(upgraded.url(role), autocommit=True) as connection:
        for table, column in settable(upgraded).items():
            writes = WRITES.get(table, set()) if role == WRITER else set()
            for right in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
                statement = SQL(BY_RIGHT[right]).format(table=Identifier(table), column=Identifier(column))
                allowed[table, right] = right in writes
                try:
                    with connection.transaction(force_rollback=True):
                        connection.execute(statement)
                    found[table, right] = True
                except errors.InsufficientPrivilege:
                    found[table, right] = False
    assert len(found) > 100
    assert found == allowed


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("statement", AS_ITS_OWNER)
def test_no_table_is_changed_as_such(upgraded: Database, role: str, statement: str) -> None:
    went_through = []
    with psycopg.connect(upgraded.url(role), autocommit=True) as connection:
        for table, column in settable(upgraded).items():
            composed = SQL(statement).format(table=Identifier(table), column=Identifier(column), role=Identifier(role))
            try:
                with connection.transaction(force_rollback=True):
                    connection.execute(composed)
                went_through.append(table)
            except errors.InsufficientPrivilege:
                pass
    assert went_through == []


BEYOND = (
    # the server's files, programs and settings
    "copy deployment to program 'cat'",
    "copy deployment to '/tmp/mine'",
    "select pg_read_file('/etc/passwd')",
    "select pg_ls_dir('/')",
    "select lo_import('/etc/passwd')",
    "alter system set work_mem = '1GB'",
    "select pg_reload_conf()",
    "load 'auto_explain'",
    # roles and passwords
    "select rolpassword from pg_authid",
    "select passwd from pg_shadow",
    "create role mine superuser",
    "alter role lambda_owner login",
    "alter role current_user superuser",
    "alter role current_user createrole",
    "drop role lambda_owner",
    "grant lambda_owner to current_user",
    "grant pg_read_all_data to current_user",
    "set role lambda_owner",
    "set role postgres",
    "set session authorization postgres",
    # new things
    "create table mine (id integer)",
    "create table mine partition of raw_data for values from ('2000-01-01') to ('2001-01-01')",
    "create view mine as select 1",
    "create function mine() returns integer language sql return 1",
    "create schema mine",
    "create database mine",
    "drop extension plpgsql cascade",
    "create publication mine for all tables",
    "create event trigger mine on ddl_command_start execute function suppress_redundant_updates_trigger()",
    "select lo_create(0)",
    "select lo_from_bytea(0, 'mine')",
    # what is there
    "drop view served_hourly cascade",
    "create or replace view served_hourly as select 1",
    "drop function ensure_raw_partition(timestamptz)",
    "alter function ensure_raw_partition(timestamptz) security invoker",
    "drop sequence publication_sequence cascade",
    "drop schema public cascade",
    "alter table raw_data detach partition raw_data_2025_06",
    "drop table raw_data_2025_06",
    "truncate raw_data_2025_06",
    "delete from raw_data_2025_06",
    "update schema_version set version_num = '0000'",
    "alter default privileges for role lambda_owner grant all on tables to public",
    "comment on table raw_data is 'mine'",
    "lock table raw_data in access exclusive mode nowait",
)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("statement", BEYOND)
def test_what_goes_beyond_rows_is_refused(upgraded: Database, role: str, statement: str) -> None:
    assert refusal(upgraded.url(role), statement.replace("current_user", role)) is errors.InsufficientPrivilege


@pytest.mark.parametrize(
    "statement",
    [
        "create temporary table mine (id integer)",
        "select ensure_raw_partition(now())",
        "select drop_raw_month(now(), '{}')",
        "select nextval('publication_sequence')",
        "set role lambda_writer",
        "select from deployment for update",
        "lock table realtime_data in row exclusive mode nowait",
    ],
)
def test_the_reader_does_nothing_but_read(upgraded: Database, statement: str) -> None:
    assert refusal(upgraded.url(READER), statement) is errors.InsufficientPrivilege
    assert refusal(upgraded.url(WRITER), statement) is None


def test_the_owner_of_the_tables_is_not_the_servers(upgraded: Database) -> None:
    with psycopg.connect(upgraded.url("postgres"), autocommit=True) as connection:
        connection.execute("set role lambda_owner")
        connection.execute("create table mine (id integer)")
        connection.execute("drop table mine")
        for statement in (
            "copy deployment to program 'cat'", "select pg_read_file('/etc/passwd')",
            "alter system set work_mem = '1GB'", "select rolpassword from pg_authid", "create role mine",
            "create database mine", "alter role lambda_reader password 'mine'",
        ):  # fmt: skip
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement)


def test_the_function_that_runs_as_its_owner_is_not_led_astray(upgraded: Database) -> None:
    """It makes months of raw_data and nothing else, whatever the caller has put into its search path."""
    before = relations(upgraded, "rp")
    with psycopg.connect(upgraded.url(WRITER), autocommit=True) as connection:
        connection.execute(
            "create function pg_temp.format(text, text) returns text language sql return 'drop table raw_data'"
        )
        connection.execute("create temporary table raw_data (timestamp timestamptz)")
        connection.execute("set search_path = pg_temp, public")
        connection.execute("select ensure_raw_partition('2025-07-31T23:59Z')")
        for nonsense in ("infinity", "-infinity"):
            with pytest.raises(psycopg.Error):
                connection.execute("select ensure_raw_partition(%s)", (nonsense,))
    assert relations(upgraded, "rp") - before == {"raw_data", "raw_data_2025_07"} - before
    parent = "select inhparent::regclass::text from pg_inherits where inhrelid = 'public.raw_data_2025_07'::regclass"
    assert upgraded.scalar(parent) == "raw_data"
