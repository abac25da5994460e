"""Two transactions at once, the second from each statement of the first on.

Where it has to wait for the other's lock, it sees what the other did.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from inspect import signature

import pytest
import sqlalchemy as sa

from lambda_pipeline.batch.publish import prepare, swap
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.batch.raw_store import store_chunk
from lambda_pipeline.errors import DatabaseUnavailableError
from lambda_pipeline.speed.commit import commit_micro_batch
from lambda_pipeline.storage.engine import bound_transaction, make_engine, session
from lambda_pipeline_tests.integration.observations import (
    HOUR,
    MALFORMED,
    ZONE,
    MemoryLog,
    keys,
    observed,
    publish,
    seen,
    served,
)
from lambda_pipeline_tests.integration.union.moments import DiedError, Moments, driver
from lambda_pipeline_tests.processes import wait_for
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration
MOST_MOMENTS = 16
_WAITS = (
    "select count(*) from pg_locks where locktype = 'advisory' and not granted "
    "and database = (select oid from pg_database where datname = current_database())"
)


_ANY_WAITS = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
_SWAPS = (  # sessions that hold the publish lock exclusively
    "select count(*) from pg_locks where locktype = 'advisory' and granted and mode = 'ExclusiveLock' and objid = 1 "
    "and database = (select oid from pg_database where datname = current_database())"
)


@pytest.fixture
def other(database: Database) -> Iterator[sa.Engine]:
    """The engine of the one that comes second."""
    engine = make_engine(database.url(), "other")
    yield engine
    engine.dispose()


class Race:
    """Runs something, and something else from one of its moments on, in a thread that may have to wait."""

    def __init__(self, database: Database, waits: str = _WAITS) -> None:
        self._database, self._waits = database, waits
        self._moments = Moments(database.writer)
        self.waited = 0

    def run(
        self, moment: int, first: Callable[[], object], second: Callable[[], object], *, dies: bool = False
    ) -> None:
        """Both to their ends; the second after the first where the moment never comes. The first may die there."""
        thread = threading.Thread(target=second)

        def begin(_: sa.Connection) -> None:
            thread.start()
            wait_for(lambda: not thread.is_alive() or self._database.scalar(self._waits), "it is done or waits")
            self.waited += thread.is_alive()
            if dies:
                raise DiedError

        with self._moments.at(moment, begin), suppress(DiedError):
            first()
        if thread.ident is None:
            thread.start()
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("first", ["swap", "commit"])
def test_a_swap_and_a_commit_of_the_same_observation(database: Database, other: sa.Engine, first: str) -> None:
    race = Race(database)
    engines = {"swap": other, "commit": other} | {first: database.writer}
    for moment in range(MOST_MOMENTS):
        hour = HOUR + timedelta(hours=moment)
        log = MemoryLog(database)
        log.append(seen(0, hour=hour, aqi=10))
        log.store()
        with session(engines["swap"]) as connection:
            prepare(connection, [hour], ZONE)
            works: dict[str, Callable[[], object]] = {
                "swap": partial(swap, connection, hour, ZONE, "test"),
                "commit": partial(commit_micro_batch, engines["commit"], log.micro_batch({0: (0, 1)}), ZONE),
            }
            race.run(moment, works.pop(first), *works.values())
        assert served(database, hour) == ("batch", 1, 10, 1, 0, 0)
        assert keys(database, "realtime_data") == []
        assert database.scalar("select count(*) from stream_offsets") == moment + 1
    assert race.waited


_BOUNDS = "transaction_timeout", "idle_in_transaction_session_timeout", "lock_timeout"


def test_a_publisher_that_freezes_inside_a_swap_stops_no_commit_for_long(
    database: Database, other: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends its transaction: after one idle second here, ten in operation."""
    moments = Moments(database.writer)
    monkeypatch.setattr("lambda_pipeline.batch.publish.bound_transaction", partial(bound_transaction, idle_seconds=1))
    for number, moment in enumerate((5, 14)):  # with the lock; with the hour replaced
        hour = HOUR + timedelta(hours=number)
        log = MemoryLog(database)
        log.append(seen(0, hour=hour), seen(1, hour=hour))
        log.consume(end=1)
        log.store()
        bounds: list[str] = []

        def freeze(connection: sa.Connection, log: MemoryLog = log, bounds: list[str] = bounds) -> None:
            cursor = driver(connection).cursor()
            bounds += [cursor.execute(f"show {name}").fetchone()[0] for name in _BOUNDS]
            assert database.scalar(_SWAPS) == 1
            assert commit_micro_batch(other, log.micro_batch({0: (1, 2)}), ZONE) == 1

        with session(database.writer) as connection:
            prepare(connection, [hour], ZONE)
            with pytest.raises(DatabaseUnavailableError, match="took too long"), moments.at(moment, freeze):
                swap(connection, hour, ZONE, "test")
        assert bounds == ["1min", "1s", "30s"]
        assert served(database, hour) == ("speed", 2, 0, 0, 0, 0)
        publish(database, hour)
        assert served(database, hour) == ("batch", 2, 0, 0, 0, 0)
    assert signature(bound_transaction).parameters["idle_seconds"].default == 10


def test_a_publish_and_what_is_stored_of_its_hour_meanwhile(database: Database, other: sa.Engine) -> None:
    """The result and its coverage are of one snapshot: what came later is in neither."""
    race = Race(database)
    for moment in range(MOST_MOMENTS):
        hour = HOUR + timedelta(hours=moment)
        log = MemoryLog(database)
        log.append(seen(0, hour=hour))
        log.store()
        log.append(seen(1, hour=hour))
        race.run(moment, partial(publish, database, hour), partial(store_chunk, other, log.chunk({0: (1, 2)})))
        count = database.scalar("select count(*) from served_observations where hour_start = :hour", hour=hour)
        assert served(database, hour) == ("batch", count, 0, 0, 0, 0)
        assert log.consume() == 2 - int(str(count))
        assert served(database, hour)[1] == 2  # type: ignore[index]


@pytest.mark.parametrize("first", ["run", "import"])
def test_a_run_and_an_import_wait_for_each_other(database: Database, other: sa.Engine, first: str) -> None:
    race = Race(database)
    engines = {"run": other, "import": other} | {first: database.writer}
    log = MemoryLog(database)
    for moment in range(MOST_MOMENTS):
        log.append(seen(moment, aqi=10))
        works: dict[str, Callable[[], object]] = {
            "run": partial(store_chunk, engines["run"], log.chunk({0: (moment, moment + 1)})),
            "import": partial(
                import_observations, engines["import"], observed(database, seen(moment, "Cinere", aqi=20)), "import:one"
            ),
        }
        race.run(moment, works.pop(first), *works.values())
    assert race.waited >= 5, "from the lock on, the other one cannot begin"
    assert keys(database, "raw_data") == [(place, at) for at in range(MOST_MOMENTS) for place in ("Cinere", "Krukut")]
    assert database.rows("select sum(rows), count(*) from raw_hours") == [(2 * MOST_MOMENTS, 2)]


@pytest.mark.parametrize("dies", [False, True])
def test_two_chunks_with_the_same_observation(database: Database, other: sa.Engine, dies: bool) -> None:
    """Of different partitions: the second waits at the key alone, and stores it where the first does not."""
    race = Race(database, _ANY_WAITS)
    for moment in range(MOST_MOMENTS):
        hour = HOUR + timedelta(hours=moment)
        log = MemoryLog(database, partitions=2)
        log.append(seen(0, hour=hour), seen(1, hour=hour, aqi=10))
        log.append(seen(2, hour=hour), seen(1, hour=hour, aqi=20), partition=1)
        stored: list[int | None] = []
        race.run(
            moment,
            lambda log=log, stored=stored: stored.append(store_chunk(database.writer, log.chunk({0: (0, 2)}))),
            lambda log=log, stored=stored: stored.append(store_chunk(other, log.chunk({1: (0, 2)}))),
            dies=dies,
        )
        if len(stored) == 1:  # the first one died: as a run would, the next one stores its records
            assert stored == [2], "nothing of it was there"
            stored.append(log.store())
        assert sorted(stored, key=str) == [1, 2]
        of_hour = "select log_partition, count(*) from raw_data where hour_start = :hour group by 1 order by 1"
        counted = "select log_partition, rows from raw_hours where hour_start = :hour order by 1"
        assert database.rows(of_hour, hour=hour) == database.rows(counted, hour=hour)
        assert database.scalar("select count(*) from raw_data where hour_start = :hour", hour=hour) == 3
        assert log.store() == log.store(partition=1) == 0
    assert 0 < race.waited < 6, "only from the insert on"


def test_chunks_of_different_partitions_do_not_wait_for_each_other(database: Database, other: sa.Engine) -> None:
    race = Race(database, _ANY_WAITS)
    log = MemoryLog(database, partitions=2)
    log.append(seen(0)), log.store()  # the month has its partition
    for moment in range(MOST_MOMENTS):
        log.append(seen(moment, "Cinere"))
        log.append(seen(moment, "Gunung"), MALFORMED, partition=1)
        first = log.chunk({0: (moment + 1, moment + 2)})
        second = log.chunk({1: (2 * moment, 2 * moment + 2)})
        race.run(moment, partial(store_chunk, database.writer, first), partial(store_chunk, other, second))
    assert race.waited == 0
    assert database.scalar("select count(*) from raw_data") == 1 + 2 * MOST_MOMENTS
    assert database.rows("select sum(rows), count(*) from raw_hours") == [(1 + 2 * MOST_MOMENTS, 2)]


def test_two_imports_get_positions_of_their_own(database: Database, other: sa.Engine) -> None:
    race = Race(database)
    for moment in range(MOST_MOMENTS):
        hour = HOUR + timedelta(hours=moment)
        rows = observed(database, seen(0, hour=hour)), observed(database, seen(1, hour=hour))
        race.run(
            moment,
            partial(import_observations, database.writer, rows[0], "import:one"),
            partial(import_observations, other, rows[1], "import:two"),
        )
    offsets = [row.log_offset for row in database.rows("select log_offset from raw_data order by 1")]
    assert offsets == list(range(2 * MOST_MOMENTS))
    assert race.waited
