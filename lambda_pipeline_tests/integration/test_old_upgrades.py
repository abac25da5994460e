"""Upgrading the first system's databases: all or nothing, once, by whoever may, and as a user would."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.errors import CatalogueError, DatabaseUnavailableError, SchemaError
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.storage import legacy_rows, migrate
from lambda_pipeline.storage.engine import Timeouts, make_engine
from lambda_pipeline.storage.legacy_rows import Takeover
from lambda_pipeline.storage.migrate import newest_version, upgrade
from lambda_pipeline_tests.cli import commands
from lambda_pipeline_tests.integration.old_databases import (
    LATER_COLUMNS,
    MASTER,
    V2,
    V2_EXTRAS,
    create_old,
    everything,
    fates,
    insert,
    run,
    taken,
    upgraded,
)
from lambda_pipeline_tests.servers import HISTORY_START, Database

pytestmark = pytest.mark.integration

ROWS = [
    "insert into raw_data (timestamp, location, latitude, longitude, aqi_value, traffic_level) "
    "select '2024-12-30T17:00:00Z'::timestamptz + interval '1 hour' * (n / 3), 'place ' || n % 3, -6.2, 107, n, 2 "
    "from generate_series(1, 300) n",
    "insert into raw_data (timestamp, location, aqi_value) select timestamp, location, 7 from raw_data where id < 8",
    "insert into raw_data (timestamp, location, aqi_value) values ('2025-01-05T00:00Z', null, 1), (now(), 'x', -1)",
]


@pytest.fixture
def master(old: Database) -> Database:
    """A database of the master branch, with duplicates and rejects among its rows."""
    create_old(old, MASTER, *LATER_COLUMNS, *ROWS)
    return old


@pytest.fixture
def v2(old: Database) -> Database:
    """A database of the second branch."""
    create_old(old, V2, *V2_EXTRAS)
    for table in ("traffic_data", "aqi_data"):
        insert(old, table, {"timestamp": "2025-03-03T20:00Z", "location": "Cinere"})
    return old


@pytest.fixture(params=["master", "v2"])
def either(request: pytest.FixtureRequest) -> Database:
    """One of both."""
    found: Database = request.getfixturevalue(request.param)
    return found


# ---------------------------------------------------------------- all or nothing, and once


def test_whoever_waits_is_told_what_is_done_and_how_far_it_is(master: Database, jakarta: City) -> None:
    told: list[tuple[str, float]] = []
    upgrade(master.owner, Takeover(jakarta, HISTORY_START, lambda what, share: told.append((what, share))))
    assert [what for what, _ in told] == [
        "reading raw_data", "comparing", "storing December 2024", "storing January 2025",
        f"storing {datetime.now(UTC):%B %Y}", "done",
    ]  # fmt: skip
    shares = [share for _, share in told]
    assert shares == sorted(set(shares))
    assert (shares[0], shares[-1]) == (0, 1)


def test_without_a_takeover_an_old_database_is_refused_untouched_with_the_command(either: Database) -> None:
    before = everything(either)
    with pytest.raises(SchemaError, match=r"the database is the first system's; it holds .*_data") as caught:
        upgrade(either.owner)
    assert "lambda-pipeline db upgrade" in caught.value.next_action
    assert everything(either) == before


def test_a_dry_run_says_what_would_happen_and_changes_nothing(either: Database, jakarta: City) -> None:
    before = everything(either)
    said = upgraded(either, jakarta, dry_run=True)
    assert everything(either) == before
    assert said == upgraded(either, jakarta)
    assert said.taken is not None
    assert said.taken.observations > 0


def test_a_dry_run_of_an_empty_and_of_an_upgraded_database_changes_nothing(old: Database, jakarta: City) -> None:
    before = everything(old)
    assert upgraded(old, jakarta, dry_run=True).after == newest_version()
    assert everything(old) == before
    upgraded(old, jakarta)
    before = everything(old)
    upgraded(old, jakarta, dry_run=True)
    assert everything(old) == before


def test_a_second_upgrade_changes_nothing(either: Database, jakarta: City) -> None:
    taken(either, jakarta)
    before = everything(either)
    found = upgraded(either, jakarta)
    assert (found.before, found.after, found.taken) == (newest_version(), newest_version(), None)
    assert everything(either) == before


@pytest.mark.parametrize(
    ("module", "step"),
    [
        (migrate, "_run_migrations"), (migrate, "take_over"), (legacy_rows, "claim"),
        (legacy_rows, "register_locations"), (legacy_rows, "upsert_latest"),
    ],
)  # fmt: skip
def test_an_upgrade_that_dies_leaves_the_database_as_it_was(
    master: Database, jakarta: City, monkeypatch: pytest.MonkeyPatch, module: object, step: str
) -> None:
    before = everything(master)
    real = getattr(module, step)

    def fails(*args: object, **named: object) -> None:
        real(*args, **named)
        raise RuntimeError("the process dies here")

    with monkeypatch.context() as patch:
        patch.setattr(module, step, fails)
        with pytest.raises(RuntimeError, match="dies here"):
            upgraded(master, jakarta)
    assert everything(master) == before
    assert taken(master, jakarta).observations == 301


def test_an_upgrade_that_the_server_breaks_off_leaves_the_database_as_it_was(master: Database, jakarta: City) -> None:
    run(
        master,
        "create function no_january() returns event_trigger language plpgsql as $$ begin "
        "if to_regclass('raw_data_2025_01') is not null then raise 'no room for January'; end if; end $$",
        "create event trigger no_january on ddl_command_end when tag in ('ALTER TABLE') execute function no_january()",
    )
    before = everything(master)
    with pytest.raises(Exception, match="no room for January"):
        upgraded(master, jakarta)
    assert everything(master) == before
    run(master, "drop event trigger no_january")
    assert taken(master, jakarta).observations == 301


def test_old_services_that_still_use_the_tables_are_named_after_a_while(master: Database, jakarta: City) -> None:
    before = everything(master)
    engine = make_engine(master.url("postgres"), "test", Timeouts(lock=0.5))
    with psycopg.connect(master.url("postgres")) as other:
        other.execute("insert into raw_data (timestamp, location) values (now(), 'Cinere')")
        with pytest.raises(DatabaseUnavailableError, match="others that use the database") as caught:
            upgrade(engine, legacy_rows.Takeover(jakarta, HISTORY_START))
        other.rollback()
    engine.dispose()
    assert "first system's" in caught.value.next_action
    run(master, "select setval('raw_data_id_seq', 309)")
    assert everything(master) == before


def test_a_zone_that_cannot_be_served_is_refused_untouched(master: Database) -> None:
    before = everything(master)
    with pytest.raises(CatalogueError, match="Lord_Howe"):
        upgraded(master, City("Lord Howe", "Australia/Lord_Howe"))
    assert everything(master) == before


# ---------------------------------------------------------------- what is not ours to take


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("create table customers (id int)", "it holds customers"),
        ("create table traffic_data (id serial, timestamp timestamptz)", "it holds traffic_data"),
        ("create table aqi_data (id text, timestamp timestamptz, location text, latitude numeric, longitude numeric, "
         "aqi_value text)", "it holds aqi_data"),
        ("create schema legacy create table mine (id int)", "schema 'legacy'"),
        ("create view served_hourly as select 1 as mine", "served_hourly"),
        ("create view locations as select 1 as mine", "locations"),
        ("create materialized view aqi_data as select 1 as mine", "aqi_data"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_named_and_nothing_is_touched(
    master: Database, jakarta: City, statement: str, match: str
) -> None:
    run(master, statement)
    before = everything(master)
    with pytest.raises(SchemaError, match=match):
        upgraded(master, jakarta)
    assert everything(master) == before


def test_views_of_the_users_own_go_on_reading_the_old_rows(master: Database, jakarta: City) -> None:
    run(master, "create view my_report as select count(*) as rows from raw_data")
    taken(master, jakarta)
    assert master.scalar("select rows from my_report") == 309


# ---------------------------------------------------------------- roles


@pytest.fixture
def stranger(old: Database) -> Iterator[str]:
    """A role without any rights."""
    with old.postgres_connection() as connection:
        connection.execute("create role stranger login")
        yield "stranger"
        connection.execute(f"alter database {old.name} owner to postgres")
        with psycopg.connect(old.url("postgres"), autocommit=True) as inside:
            inside.execute("reassign owned by stranger to postgres; drop owned by stranger cascade")
        connection.execute("drop owned by stranger cascade; drop role stranger")


def test_a_superuser_takes_over_tables_of_any_owner_and_our_roles_read_them(
    master: Database, jakarta: City, stranger: str
) -> None:
    run(master, *(f"alter table {table} owner to {stranger}" for table in MASTER))
    taken(master, jakarta)
    for engine in (master.writer, master.reader):
        with engine.connect() as connection:
            for table in (*(f"legacy.{table}" for table in MASTER), "legacy.hourly_comparison", "raw_data_duplicates",
                          "raw_data_rejects", "legacy.daily_comparison"):  # fmt: skip
                connection.exec_driver_sql(f"select count(*) from {table}")
            with pytest.raises(Exception, match="permission denied"):
                connection.exec_driver_sql("delete from legacy.raw_data")


def test_the_owner_of_the_database_and_its_tables_need_not_be_a_superuser(
    master: Database, jakarta: City, stranger: str
) -> None:
    run(
        master,
        *(f"alter table {table} owner to {stranger}" for table in MASTER),
        f"alter database {master.name} owner to {stranger}",
        f"grant lambda_owner, lambda_writer, lambda_reader to {stranger} with admin option",
    )
    engine = make_engine(master.url(stranger), "test")
    try:
        done = upgrade(engine, legacy_rows.Takeover(jakarta, HISTORY_START))
    finally:
        engine.dispose()
    assert done.taken is not None
    assert fates(done.taken)["raw_data"] == (309, 301, 0, 7, 1, 1)
    with master.reader.connect() as connection:
        assert connection.exec_driver_sql("select count(*) from legacy.raw_data").scalar() == 309


def test_whoever_may_not_move_the_tables_is_told_so_and_changes_nothing(
    master: Database, jakarta: City, stranger: str
) -> None:
    run(master, f"alter table raw_data owner to {stranger}", f"grant all on database {master.name} to {stranger}")
    before = everything(master)
    engine = make_engine(master.url(stranger), "test")
    try:
        with pytest.raises(SchemaError, match="tables belong to postgres") as caught:
            upgrade(engine, legacy_rows.Takeover(jakarta, HISTORY_START))
    finally:
        engine.dispose()
    assert "LAMBDA_OWNER_DATABASE_URL" in caught.value.next_action
    assert everything(master) == before


# ---------------------------------------------------------------- as a user would


def words(result: commands.Result) -> str:
    """What a command printed, with single spaces."""
    assert result.code == 0, result.text
    return " ".join(result.out.split())


def test_db_upgrade_on_a_server_of_ones_own(master: Database, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": master.url("postgres")}
    refused = commands.run(tmp_path, "status", settings=settings)
    assert refused.code == 1
    assert "lambda-pipeline db upgrade" in refused.err
    before = everything(master)
    dry = words(commands.run(tmp_path, "db", "upgrade", "--dry-run", settings=settings))
    assert everything(master) == before
    done = words(commands.run(tmp_path, "db", "upgrade", settings=settings))
    for said in (dry, done):
        assert "raw_data 309 = 301 + 0 + 7 + 1" in said
        assert "realtime_data 0 = 0 + 0 + 0 + 0" in said
        assert "1 rows had a measure out of range, which now counts as missing: see raw_data_rejects." in said
        assert "4 locations registered: place 0, place 1, place 2, x." in said
        assert "set LAMBDA_HISTORY_START=2024-12-31 (it is 2025-01-01)" in said
        assert "Publish them: lambda-pipeline backfill --from 2024-12-31 --to 20" in said
    assert "dry run: nothing was changed" in dry
    assert f"The schema is now {newest_version()} (before: the first system's)." in done
    again = words(commands.run(tmp_path, "db", "upgrade", settings=settings))
    assert again == f"The schema is up to date: {newest_version()}."
    assert "Jakarta (Asia/Jakarta)" in commands.run(tmp_path, "status", settings=settings).out


def test_db_upgrade_on_the_embedded_server(tmp_path: Path) -> None:
    home = Home(tmp_path / ".lambda")
    dry = commands.run(tmp_path, "db", "upgrade", "--dry-run")
    assert "There is no database yet" in dry.out
    assert not (home.postgres / "data").exists()
    server = EmbeddedPostgres(home, {"fsync": "off"})
    with home.lock("test"):
        server.start()
        try:
            for name, statement in (("postgres", 'create database "lambda"'), ("lambda", None)):
                with psycopg.connect(server.url(name), autocommit=True) as connection:
                    if statement:
                        connection.execute(statement)
                        continue
                    connection.execute("create table aqi_data (id serial, timestamp timestamptz, location text, "
                                       "latitude numeric, longitude numeric, aqi_value integer)")  # fmt: skip
                    connection.execute("insert into aqi_data values (1, '2025-03-03T20:00Z', 'Cinere', 1, 2, 50)")
        finally:
            server.stop()
    refused = commands.run(tmp_path, "status")
    assert refused.code == 1
    assert "the database is the first system's; it holds aqi_data." in refused.err
    assert "aqi_data 1 = 1 + 0 + 0 + 0" in words(commands.run(tmp_path, "db", "upgrade", "--dry-run"))
    assert commands.run(tmp_path, "status").code == 1
    assert "aqi_data 1 = 1 + 0 + 0 + 0" in words(commands.run(tmp_path, "db", "upgrade"))
    assert "Jakarta (Asia/Jakarta)" in commands.run(tmp_path, "status").out
