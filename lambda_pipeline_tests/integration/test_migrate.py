"""Bringing a database up, and whom it belongs to."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.domain.peak_hours import PeakWindow
from lambda_pipeline.errors import CatalogueError, DeploymentMismatchError, SchemaError
from lambda_pipeline.storage import migrate
from lambda_pipeline.storage.deployment import claim, load_deployment, register_locations
from lambda_pipeline.storage.engine import make_engine, transaction
from lambda_pipeline.storage.migrate import newest_version, require_newest, upgrade
from lambda_pipeline_tests.integration.observations import HOUR, MemoryLog, publish, seen
from lambda_pipeline_tests.servers import HISTORY_START, POLL_INTERVAL, Database

pytestmark = pytest.mark.integration

# Everything that a schema consists of, the rows of the rules included.
CATALOGUE = """
select 'relation ' || c.oid::regclass || ' ' || c.relkind::text || ' ' || coalesce(c.relacl::text, '') || ' ' ||
    coalesce(pg_get_viewdef(case when c.relkind = 'v' then c.oid end), '')
from pg_class c where c.relnamespace = 'public'::regnamespace
union all
select 'column ' || a.attrelid::regclass || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
    || a.attnotnull
from pg_attribute a join pg_class c on c.oid = a.attrelid
where c.relnamespace = 'public'::regnamespace and a.attnum > 0
union all
select 'function ' || p.oid::regprocedure || ' ' || coalesce(p.proacl::text, '') ||
    md5(pg_get_functiondef(p.oid))
from pg_proc p where p.pronamespace = 'public'::regnamespace
union all
select 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint
where connamespace = 'public'::regnamespace
union all
select 'namespace ' || nspname || coalesce(nspacl::text, '') from pg_namespace where nspname !~ '^pg_'
order by 1
"""


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[sa.Engine]:
    """A database with nothing in it, as the superuser."""
    engine = make_engine(empty_database_url, "test")
    yield engine
    engine.dispose()


def schema(engine: sa.Engine) -> list[str]:
    with transaction(engine) as connection:
        return list(connection.execute(sa.text(CATALOGUE)).scalars())


def run(engine: sa.Engine, *statements: str) -> None:
    with transaction(engine) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def scalar(engine: sa.Engine, query: str) -> object:
    with transaction(engine) as connection:
        return connection.execute(sa.text(query)).scalar()


# ---------------------------------------------------------------- upgrades


def test_an_empty_database_becomes_the_newest(empty: sa.Engine) -> None:
    found = upgrade(empty)
    assert (found.before, found.after) == (None, newest_version())
    require_newest(empty)
    assert scalar(empty, "select count(*) from served_hourly") == 0
    assert scalar(empty, "select count(*) from aqi_bands") == 6


def test_a_second_upgrade_changes_nothing(empty: sa.Engine) -> None:
    upgrade(empty)
    before = schema(empty)
    found = upgrade(empty)
    assert (found.before, found.after) == (newest_version(), newest_version())
    assert schema(empty) == before


def test_an_upgrade_keeps_what_is_stored(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=10), seen(6))
    log.consume()
    log.store()
    upgrade(database.owner)
    assert database.scalar("select count(*) from raw_data") == 2
    assert database.scalar("select sum(data_points_count) from served_hourly") == 2


def test_an_upgrade_counts_the_bands_of_hours_that_were_published_before(database: Database) -> None:
    log = MemoryLog(database)
    for minute, (aqi, level) in enumerate([(20, 1), (50, 2), (51, 2), (300, None), (None, 5)]):
        log.append(seen(minute, ["Cinere", "Gunung", "Krukut", "Kemayoran", "Grogol Utara"][minute], aqi, level=level))
    log.append(seen(9, hour=HOUR + timedelta(hours=1)))
    log.store()
    publish(database, HOUR, HOUR + timedelta(hours=1))
    query = "select hour_start, aqi_locations, traffic_locations from city_hourly order by hour_start"
    published = database.rows(query)
    assert [tuple(row[1:]) for row in published] == [
        ([2, 1, 0, 0, 1, 0], [1, 2, 0, 0, 1]),
        ([0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0]),
    ]
    run(
        database.owner,
        "alter table city_hourly drop column aqi_locations, drop column traffic_locations",
        "drop function aqi_rank, aqi_limits, traffic_rank cascade",
        "drop index dead_letters_newest",
        "drop table daemons",
        "alter table dead_letters drop column retried_at, drop column retried_partition, drop column retried_offset",
        "drop function drop_raw_month",
        "drop table raw_archives, archive_leftovers, raw_floor",
        "update schema_version set version_num = '0004'",
    )
    assert upgrade(database.owner).before == "0004"
    assert database.rows(query) == published


def test_an_upgrade_brings_the_rules_up_to_date(empty: sa.Engine) -> None:
    upgrade(empty)
    run(empty, "update aqi_bands set category = 'Fine' where upper = 50", "delete from traffic_levels where level = 3")
    upgrade(empty)
    assert scalar(empty, "select aqi_category(0)") == "Good"
    assert scalar(empty, "select count(*) from traffic_levels") == 5


@pytest.mark.parametrize(
    "statements",
    [
        ["create table customers (id int)", "insert into customers values (7)"],
        ["create table raw_data (id serial, timestamp timestamptz)"],
        ["create table schema_version (installed_rank int)"],
    ],
    ids=["another application's", "of our names", "another tool's schema_version"],
)
def test_a_database_with_foreign_tables_is_refused_untouched(empty: sa.Engine, statements: list[str]) -> None:
    run(empty, *statements)
    before = schema(empty)
    with pytest.raises(SchemaError):
        upgrade(empty)
    assert schema(empty) == before


def test_foreign_tables_are_named(empty: sa.Engine) -> None:
    run(empty, "create table orders (id int)", "create table customers (id int)")
    with pytest.raises(SchemaError, match="it holds customers, orders"):
        upgrade(empty)


def test_a_schema_of_a_newer_version_is_refused_untouched(empty: sa.Engine) -> None:
    upgrade(empty)
    run(empty, "update schema_version set version_num = '9999'")
    before = schema(empty)
    with pytest.raises(SchemaError, match="9999"):
        upgrade(empty)
    assert schema(empty) == before


@pytest.mark.parametrize("step", ["_run_migrations", "run_script", "store_rules"])
def test_a_failed_upgrade_leaves_nothing(empty: sa.Engine, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    before = schema(empty)
    real = getattr(migrate, step)

    def fails(*args: object, **named: object) -> None:
        real(*args, **named)
        raise RuntimeError("the process dies here")

    with monkeypatch.context() as patch:
        patch.setattr(migrate, step, fails)
        with pytest.raises(RuntimeError, match="dies here"):
            upgrade(empty)
    assert schema(empty) == before
    assert upgrade(empty).after == newest_version()


def test_require_newest_refuses_an_empty_database(empty: sa.Engine) -> None:
    with pytest.raises(SchemaError, match=f"is missing, this version works with {newest_version()}") as caught:
        require_newest(empty)
    assert "lambda-pipeline db upgrade" in caught.value.next_action


def test_require_newest_refuses_another_version(empty: sa.Engine) -> None:
    upgrade(empty)
    run(empty, "update schema_version set version_num = '0000'")
    with pytest.raises(SchemaError, match="schema is 0000"):
        require_newest(empty)


def test_every_role_may_ask_for_the_version(database: Database) -> None:
    for engine in (database.owner, database.writer, database.reader):
        require_newest(engine)


# ---------------------------------------------------------------- whose database it is


def claimed(database: Database, city: City, history_start: date = HISTORY_START) -> None:
    """Claim it as the daemons do, as the writer."""
    with transaction(database.writer) as connection:
        claim(connection, city, history_start, POLL_INTERVAL)


def active(database: Database) -> dict[str, bool]:
    return {row.name: row.is_active for row in database.rows("select name, is_active from locations")}


@pytest.mark.parametrize("changes", [{"name": "Bandung"}, {"timezone": "Asia/Makassar"}])
def test_another_citys_claim_is_refused_and_changes_nothing(
    database: Database, jakarta: City, changes: dict[str, str]
) -> None:
    other = replace(jakarta, **changes, locations=(Location("Elsewhere"),), peak_windows=())
    before = (active(database), database.rows("select * from deployment"), database.rows("select * from peak_windows"))
    with pytest.raises(DeploymentMismatchError, match=r"belongs to Jakarta \(Asia/Jakarta\), not to "):
        claimed(database, other, date(2020, 1, 1))
    after = (active(database), database.rows("select * from deployment"), database.rows("select * from peak_windows"))
    assert after == before


def test_claiming_again_changes_nothing(database: Database, jakarta: City) -> None:
    query = "select to_jsonb(l)::text from locations l order by 1"
    before = database.rows(query)
    claimed(database, jakarta)
    assert database.rows(query) == before


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (date(2024, 6, 1), date(2024, 6, 1)),
        (HISTORY_START, HISTORY_START),
        (date(2025, 6, 1), HISTORY_START),
    ],
)
def test_the_start_of_history_is_only_ever_lowered(database: Database, jakarta: City, asked: date, kept: date) -> None:
    claimed(database, jakarta, asked)
    assert database.scalar("select history_start from deployment") == kept


def test_a_location_that_left_the_catalogue_is_switched_off_and_not_deleted(database: Database, jakarta: City) -> None:
    gone, *rest = jakarta.locations
    claimed(database, replace(jakarta, locations=tuple(rest)))
    assert active(database) == {location.name: location != gone for location in jakarta.locations}
    with transaction(database.reader) as connection:
        assert load_deployment(connection).locations[gone.name] == gone  # and its messages stay valid
    claimed(database, jakarta)
    assert all(active(database).values())


def test_the_catalogue_brings_its_locations_up_to_date(database: Database, jakarta: City) -> None:
    first, *rest = jakarta.locations
    moved = replace(first, latitude=-6.5, longitude=106.5, aqicn_station=None)
    claimed(database, replace(jakarta, locations=(moved, *rest, Location("New"))))
    with transaction(database.reader) as connection:
        found = load_deployment(connection).locations
    assert found[first.name] == moved
    assert found["New"] == Location("New")


def test_the_catalogue_has_the_last_word_over_an_import(database: Database, jakarta: City) -> None:
    first = jakarta.locations[0]
    with transaction(database.writer) as connection:
        register_locations(connection, [replace(first, latitude=0.0, longitude=0.0), Location("Imported")], "import")
    with transaction(database.reader) as connection:
        assert load_deployment(connection).locations[first.name] == first
    claimed(database, jakarta)
    assert active(database)["Imported"]


def test_the_peak_windows_are_the_catalogues(database: Database, jakarta: City) -> None:
    windows = (PeakWindow(7, 9), PeakWindow(17, 19))
    claimed(database, replace(jakarta, peak_windows=windows))
    with transaction(database.reader) as connection:
        assert load_deployment(connection).peak_windows == windows
    claimed(database, replace(jakarta, peak_windows=()))
    assert database.scalar("select count(*) from peak_windows") == 0


def test_a_zone_whose_clocks_move_by_half_an_hour_is_refused(empty: sa.Engine) -> None:
    upgrade(empty)
    with pytest.raises(CatalogueError, match="Lord_Howe"), transaction(empty) as connection:
        claim(connection, City("Lord Howe", "Australia/Lord_Howe"), HISTORY_START)
    assert scalar(empty, "select count(*) from deployment") == 0


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [(timedelta(minutes=6), 360), (timedelta(milliseconds=100), 1), (timedelta(seconds=90.4), 90)],
)
def test_the_poll_interval_is_kept_in_whole_seconds(
    database: Database, jakarta: City, interval: timedelta, seconds: int
) -> None:
    with transaction(database.writer) as connection:
        claim(connection, jakarta, HISTORY_START, interval)
    assert database.scalar("select poll_interval_seconds from deployment") == seconds


def test_a_claim_without_an_interval_keeps_the_stored_one(database: Database, jakarta: City) -> None:
    with transaction(database.writer) as connection:
        claim(connection, jakarta, HISTORY_START)
    assert database.scalar("select poll_interval_seconds from deployment") == POLL_INTERVAL.total_seconds()


def test_a_database_that_was_never_claimed_belongs_to_nobody(empty: sa.Engine) -> None:
    upgrade(empty)
    with pytest.raises(SchemaError, match="belongs to no city"), transaction(empty) as connection:
        load_deployment(connection)
