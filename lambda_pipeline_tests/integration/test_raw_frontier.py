"""raw_data and its frontiers: rows and frontier move together, and imports have positions of their own."""

import threading
from datetime import UTC, datetime

import pytest

from lambda_pipeline.batch import raw_store
from lambda_pipeline.batch.publish import hours_to_publish
from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.batch.raw_store import load_frontiers, store_chunk
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
    HOUR,
    MALFORMED,
    NEXT_HOUR,
    MemoryLog,
    contents,
    keys,
    observed,
    publish,
    seen,
    served,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


@pytest.fixture
def log(database: Database) -> MemoryLog:
    return MemoryLog(database, partitions=2)


def stale(database: Database, *, everything: bool = False) -> list[datetime]:
    return [hour.hour_start for hour in hours_to_publish(database.writer, DAY, DAY_AFTER, everything=everything)]


# ---------------------------------------------------------------- the frontier


def test_storing_moves_the_frontier_and_counts_the_hours(database: Database, log: MemoryLog) -> None:
    log.append(seen(0), seen(6), seen(0, hour=NEXT_HOUR), MALFORMED)
    assert log.store() == 3
    assert load_frontiers(database.writer) == {log.partitions[0].id: 4}
    counted = database.rows("select hour_start, rows, max_offset, city_date from raw_hours order by 1")
    assert [tuple(row) for row in counted] == [(HOUR, 2, 1, DAY), (NEXT_HOUR, 1, 2, DAY)]
    assert database.scalar("select count(*) from dead_letters") == 1


def test_the_first_stored_values_and_position_of_a_key_never_change(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10), seen(0, aqi=20))
    log.append(seen(0, aqi=30), partition=1)
    assert log.store() == 1
    assert log.store(partition=1) == 0
    found = database.rows("select aqi_value, log_partition, log_offset from raw_data")
    assert [tuple(row) for row in found] == [(10, log.partitions[0].id, 0)]
    assert load_frontiers(database.writer) == {log.partitions[0].id: 2, log.partitions[1].id: 1}


def test_a_row_is_stored_in_the_month_it_belongs_to(database: Database, log: MemoryLog) -> None:
    months = [datetime(2025, 1, 31, 23, 59, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC), HOUR]
    log.append(*(seen(0, hour=month) for month in months))
    assert log.store() == 3
    found = database.rows("select tableoid::regclass::text as part from raw_data order by timestamp")
    assert [row.part for row in found] == ["raw_data_2025_01", "raw_data_2025_02", "raw_data_2025_06"]


def test_a_chunk_that_another_run_stored_is_given_up(database: Database, log: MemoryLog) -> None:
    log.append(seen(0), seen(6), MALFORMED)
    chunk = log.chunk({0: (0, 3)})
    assert store_chunk(database.writer, chunk) == 2
    before = contents(database)
    assert store_chunk(database.writer, chunk) is None
    assert contents(database) == before


@pytest.mark.parametrize(
    ("stored", "span"),
    [(2, (0, 3)), (2, (1, 4)), (2, (3, 4)), (4, (0, 2))],
    ids=["overlaps", "starts within", "leaves a hole", "lies behind"],
)
def test_a_chunk_that_does_not_start_at_the_frontier_is_given_up(
    database: Database, log: MemoryLog, stored: int, span: tuple[int, int]
) -> None:
    log.append(*(seen(minute) for minute in range(4)))
    log.store(stored)
    before = contents(database)
    assert store_chunk(database.writer, log.chunk({0: span})) is None
    assert contents(database) == before


def test_a_chunk_is_given_up_whole_if_one_of_its_partitions_was_stored(database: Database, log: MemoryLog) -> None:
    log.append(seen(0), partition=0)
    log.append(seen(6), partition=1)
    log.store(partition=1)
    assert store_chunk(database.writer, log.chunk({0: (0, 1), 1: (0, 1)})) is None
    assert keys(database, "raw_data") == [("Krukut", 6)]


def test_of_runs_at_the_same_time_one_stores_and_the_others_give_up(database: Database, log: MemoryLog) -> None:
    log.append(*(seen(minute) for minute in range(40)))
    chunk = log.chunk({0: (0, 40)})
    outcomes: list[int | None] = []
    start = threading.Barrier(3)

    def run() -> None:
        start.wait()
        outcomes.append(store_chunk(database.writer, chunk))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes, key=str) == [40, None, None]
    assert database.scalar("select sum(rows) from raw_hours") == 40


@pytest.mark.parametrize("step", ["copy_incoming", "insert_copied", "insert_dead_letters", "move_frontier"])
def test_a_chunk_that_fails_at_any_step_leaves_nothing(
    database: Database, log: MemoryLog, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    log.append(seen(0), MALFORMED)
    before = contents(database)
    real = getattr(raw_store, step)

    def fails(*args: object) -> None:
        real(*args)
        raise RuntimeError("the process dies here")

    with monkeypatch.context() as patch:
        patch.setattr(raw_store, step, fails)
        with pytest.raises(RuntimeError, match="dies here"):
            log.store()
    assert contents(database) == before
    assert log.store() == 1


# ---------------------------------------------------------------- files


def test_an_import_gets_positions_of_its_own(database: Database, log: MemoryLog) -> None:
    log.append(seen(0))
    log.store()
    assert import_observations(database.writer, observed(database, seen(6), seen(12)), "import:a.csv") == 2
    assert import_observations(database.writer, observed(database, seen(18)), "import:b.csv") == 1
    found = database.rows(
        "select p.topic, r.log_offset, r.source from raw_data r join log_partitions p on p.id = r.log_partition "
        "order by r.timestamp"
    )
    assert [tuple(row) for row in found] == [
        ("observations", 0, "kafka"),
        ("import", 0, "import:a.csv"),
        ("import", 1, "import:a.csv"),
        ("import", 2, "import:b.csv"),
    ]


def test_importing_again_stores_nothing_but_moves_the_counter(database: Database) -> None:
    rows = observed(database, seen(0, aqi=10), seen(6, aqi=20))
    assert import_observations(database.writer, rows, "import:a.csv") == 2
    assert import_observations(database.writer, rows, "import:a.csv") == 0
    assert list(load_frontiers(database.writer).values()) == [4]
    assert database.scalar("select sum(rows) from raw_hours") == 2


def test_an_import_keeps_the_first_values(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10))
    log.store()
    rows = observed(database, seen(0, aqi=99), seen(6, aqi=20), seen(6, aqi=98))
    assert import_observations(database.writer, rows, "import:a.csv") == 1
    publish(database, HOUR)
    assert served(database) == ("batch", 2, 30, 2, 0, 0)


def test_an_import_is_served_from_its_publish_on(database: Database) -> None:
    import_observations(database.writer, observed(database, seen(0, aqi=10)), "import:a.csv")
    assert served(database) is None
    assert stale(database) == [HOUR]
    publish(database, HOUR)
    assert served(database) == ("batch", 1, 10, 1, 0, 0)
