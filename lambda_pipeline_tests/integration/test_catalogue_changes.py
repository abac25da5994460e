"""A catalogue that grows while both layers run: they judge every record alike, whoever reads it first."""

import threading
from dataclasses import replace
from datetime import date

import pytest
import sqlalchemy as sa

from lambda_pipeline.batch import raw_share
from lambda_pipeline.batch.raw_data import advance_raw_data
from lambda_pipeline.batch.raw_share import RawRun
from lambda_pipeline.batch.raw_store import store_chunk
from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.errors import StaleCatalogueError
from lambda_pipeline.speed.commit import commit_micro_batch
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.deployment import claim, load_deployment, register_locations
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.observations import (
    HOUR,
    LAYER_TABLES,
    ZONE,
    MemoryLog,
    contents,
    keys,
    publish,
    seen,
)
from lambda_pipeline_tests.integration.speed_daemons import Feed, eventually
from lambda_pipeline_tests.servers import HISTORY_START, Database

pytestmark = pytest.mark.integration

WAITS = "select exists (select from pg_locks where locktype = 'advisory' and not granted)"


def version(database: Database) -> int:
    with transaction(database.writer) as connection:
        return load_deployment(connection).catalogue_version


def add(database: Database, name: str) -> None:
    with transaction(database.writer) as connection:
        register_locations(connection, [Location(name)], "catalogue")


# ---------------------------------------------------------------- the version


def test_the_same_catalogue_again_leaves_the_version_alone(database: Database, jakarta: City) -> None:
    before = version(database)
    for start in (HISTORY_START, date(2026, 1, 1)):  # a later start of history is not taken
        with transaction(database.writer) as connection:
            claim(connection, jakarta, start)
    assert version(database) == before


@pytest.mark.parametrize("change", ["locations", "history_start", "peak_windows"])
def test_what_records_are_judged_by_counts_it_up(database: Database, jakarta: City, change: str) -> None:
    before = version(database)
    city, start = jakarta, HISTORY_START
    if change == "locations":
        moved = replace(jakarta.locations[0], latitude=0.0)
        city = replace(jakarta, locations=(moved, *jakarta.locations[1:]))
    elif change == "history_start":
        start = date(2024, 12, 31)
    else:
        city = replace(jakarta, peak_windows=jakarta.peak_windows[:1])
    with transaction(database.writer) as connection:
        claim(connection, city, start)
    assert version(database) == before + 1


def test_a_change_waits_for_the_commits_and_publishes_under_way(database: Database) -> None:
    def hold_raw_shared(connection: sa.Connection) -> None:
        locks.hold_raw_shared(connection, [1, 2])

    for hold in (locks.hold_publish_shared, locks.hold_publish, locks.hold_raw, hold_raw_shared):
        done = threading.Event()

        def change(name: str = hold.__name__, done: threading.Event = done) -> None:
            add(database, name)
            done.set()

        with transaction(database.writer) as connection:
            hold(connection)
            thread = threading.Thread(target=change)
            thread.start()
            eventually(lambda: bool(database.scalar(WAITS)), "the change waits")
            assert not done.is_set()
        thread.join(30)
        assert done.is_set()


# ---------------------------------------------------------------- both layers


def test_a_commit_judged_by_an_older_catalogue_is_refused_whole(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, "New Place"), seen(0))
    batch = replace(log.micro_batch({0: (0, 2)}), catalogue_version=version(database))
    add(database, "New Place")
    before = contents(database, LAYER_TABLES)
    with pytest.raises(StaleCatalogueError):
        commit_micro_batch(database.writer, batch, ZONE)
    assert contents(database, LAYER_TABLES) == before


def test_a_chunk_judged_by_an_older_catalogue_is_given_up(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, "New Place"), seen(0))
    chunk = replace(log.chunk({0: (0, 2)}), catalogue_version=version(database))
    add(database, "New Place")
    before = contents(database, LAYER_TABLES)
    assert store_chunk(database.writer, chunk) is None
    assert contents(database, LAYER_TABLES) == before


def test_what_speed_found_invalid_stays_so_for_batch(database: Database) -> None:
    """Else batch would serve what the dead letters hold, and a retry would look for it there in vain."""
    log = MemoryLog(database)
    log.append(seen(0, "New Place"), seen(0))
    assert log.consume() == 1
    add(database, "New Place")
    log.validator = MemoryLog(database).validator
    assert log.store() == 1
    assert publish(database, HOUR) == [1]
    assert keys(database, "served_observations") == [("Krukut", 0)]
    assert database.scalar("select count(*) from dead_letters") == 1


def test_a_running_daemon_takes_in_what_is_added(feed: Feed) -> None:
    feed.start(), feed.start()
    feed.produce(seen(0), partition=0)
    feed.produce(seen(1), seen(1, "New Place"), partition=1)
    feed.wait_for(2)
    add(feed.database, "New Place")
    feed.produce(*(seen(minute, "New Place") for minute in range(2, 30)), partition=0)
    feed.produce(*(seen(minute, "New Place") for minute in range(30, 60)), partition=1)
    feed.wait_for(60)
    assert feed.count("dead_letters") == 1, "only what was read before"
    assert feed.offsets() == {0: 29, 1: 32}


def test_a_run_under_way_takes_in_what_is_added(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    feed.produce(*(seen(minute, "New Place") for minute in range(10)), *(seen(minute) for minute in range(10)))
    real = raw_share._judge_chunk
    judged = []

    def judge_slowly(*arguments):  # type: ignore[no-untyped-def]
        found = real(*arguments)
        judged.append(found)
        if len(judged) == 1:
            add(feed.database, "New Place")
        return found

    monkeypatch.setattr(raw_share, "_judge_chunk", judge_slowly)
    run: RawRun = advance_raw_data(feed.database.writer, feed.connection, feed.name)
    assert [len(chunk.observations) for chunk in judged] == [10, 20]
    assert (run.records, run.stored, run.dead_letters) == (20, 20, 0)
    assert feed.count("dead_letters") == 0
