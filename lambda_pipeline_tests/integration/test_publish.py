"""Storing and publishing, step by step: frontiers, prepare, swap, imports and the tables of a day."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from lambda_pipeline.batch import publish as publish_module
from lambda_pipeline.batch import raw_data
from lambda_pipeline.batch.days import DayTable, compute_days
from lambda_pipeline.batch.publish import HourToPublish, hours_to_publish, prepare, publish_hours, swap
from lambda_pipeline.batch.raw_data import import_observations, load_frontiers, store_chunk
from lambda_pipeline.errors import TransientError, UnionViolationError
from lambda_pipeline.storage.engine import session, transaction
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
    HOUR,
    MALFORMED,
    NEXT_HOUR,
    ZONE,
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

DAY_TABLES: tuple[DayTable, ...] = ("daily_aggregations", "peak_hours_analysis", "peak_hours")
RESULTS = ("batch_aggregations", "city_hourly", "peak_hours", "peak_hours_analysis")
LAST_HOUR = datetime(2025, 6, 2, 16, tzinfo=UTC)  # 23:00 in Jakarta
TOMORROWS_HOUR = datetime(2025, 6, 2, 17, tzinfo=UTC)  # midnight in Jakarta


@pytest.fixture
def log(database: Database) -> MemoryLog:
    return MemoryLog(database, partitions=2)


@pytest.fixture
def sessions(database: Database) -> Iterator[list[sa.Connection]]:
    """Two publishing sessions."""
    with ExitStack() as stack:
        yield [stack.enter_context(session(database.writer)) for _ in range(2)]


def stale(database: Database, *, everything: bool = False) -> list[datetime]:
    return [hour.hour_start for hour in hours_to_publish(database.writer, DAY, DAY_AFTER, everything=everything)]


def results(database: Database, *tables: str) -> dict[str, list[tuple[object, ...]]]:
    """What result tables hold but for ids and the times of writing."""
    found = {}
    for table in tables or RESULTS:
        columns = "to_jsonb(t) - 'id' - 'created_at' - 'updated_at'"
        found[table] = [tuple(row) for row in database.rows(f"select ({columns})::text from {table} t order by 1")]
    return found


def compute_all_days(database: Database) -> None:
    for table in DAY_TABLES:
        compute_days(database.writer, table, DAY, DAY_AFTER, "test")


def daily(database: Database) -> list[tuple[object, ...]]:
    return [tuple(row) for row in database.rows("select * from served_daily order by date, location")]


def city_daily_is_fresh(database: Database) -> bool:
    """Whether served_daily answers from the daily rows."""
    query = (
        "select publication >= (select max(publication) from published_hours h where h.city_date = c.city_date) "
        "from computed_days c where table_name = 'daily_aggregations' and city_date = :day"
    )
    return bool(database.scalar(query, day=DAY))


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


@pytest.mark.parametrize("step", ["_insert", "insert_dead_letters", "_move_frontier"])
def test_a_chunk_that_fails_at_any_step_leaves_nothing(
    database: Database, log: MemoryLog, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    log.append(seen(0), MALFORMED)
    before = contents(database)
    real = getattr(raw_data, step)

    def fails(*args: object) -> None:
        real(*args)
        raise RuntimeError("the process dies here")

    with monkeypatch.context() as patch:
        patch.setattr(raw_data, step, fails)
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


# ---------------------------------------------------------------- prepare and swap


def test_a_publish_moves_the_hour_from_speed_to_batch(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10), seen(6, level=3), seen(0, hour=NEXT_HOUR))
    log.consume()
    log.store()
    assert publish(database, HOUR) == [2]
    assert served(database) == ("batch", 2, 10, 1, 3, 1)
    assert served(database, NEXT_HOUR) == ("speed", 1, 0, 0, 0, 0)
    assert keys(database, "realtime_data") == [("Krukut", 0)]
    coverage = database.rows("select hour_start, log_partition, next_offset from batch_coverage")
    assert [tuple(row) for row in coverage] == [(HOUR, log.partitions[0].id, 3)]


def test_nothing_shows_before_the_swap(database: Database, log: MemoryLog, sessions: list[sa.Connection]) -> None:
    log.append(seen(0, aqi=10))
    log.consume()
    log.store()
    before = contents(database)
    prepare(sessions[0], [HOUR], ZONE)
    assert contents(database) == before


def test_a_publish_is_noted_with_its_run_and_rows(database: Database, log: MemoryLog) -> None:
    log.append(seen(0), seen(6), seen(0, "Cinere"))
    log.store()
    publish(database, HOUR, run_id="run 1")
    found = database.rows("select hour_start, city_date, run_id, engine, rows from published_hours")
    assert [tuple(row) for row in found] == [(HOUR, DAY, "run 1", "postgres", 3)]


def test_a_late_event_after_the_publish_is_served_by_both_and_then_published(
    database: Database, log: MemoryLog
) -> None:
    log.append(seen(0, aqi=10))
    log.consume()
    log.store()
    publish(database, HOUR)
    log.append(seen(6, aqi=20))
    assert stale(database) == []
    log.consume()
    assert served(database) == ("both", 2, 30, 2, 0, 0)
    log.store()
    assert served(database) == ("both", 2, 30, 2, 0, 0)
    assert stale(database) == [HOUR]
    assert publish(database, HOUR) == [1]
    assert served(database) == ("batch", 2, 30, 2, 0, 0)
    assert stale(database) == []


def test_what_is_stored_between_prepare_and_swap_stays_in_the_speed_layer(
    database: Database, log: MemoryLog, sessions: list[sa.Connection]
) -> None:
    log.append(seen(0, aqi=10))
    log.consume()
    log.store()
    prepare(sessions[0], [HOUR], ZONE)
    log.append(seen(6, aqi=20))
    log.consume()
    log.store()
    assert swap(sessions[0], HOUR, ZONE, "test") == 1
    assert served(database) == ("both", 2, 30, 2, 0, 0)
    assert keys(database, "realtime_data") == [("Krukut", 6)]
    assert stale(database) == [HOUR]


def test_what_is_consumed_between_prepare_and_swap_leaves_the_speed_layer(
    database: Database, log: MemoryLog, sessions: list[sa.Connection]
) -> None:
    log.append(seen(0, aqi=10))
    log.store()
    prepare(sessions[0], [HOUR], ZONE)
    log.consume()
    assert swap(sessions[0], HOUR, ZONE, "test") == 1
    assert served(database) == ("batch", 1, 10, 1, 0, 0)


def test_a_duplicate_at_another_position_leaves_the_speed_layer_too(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10), partition=0)
    log.append(seen(0, aqi=99), partition=1)
    log.consume(partition=1)
    log.store(partition=0)
    assert served(database) == ("speed", 1, 99, 1, 0, 0)
    assert publish(database, HOUR) == [1]  # partition 1 is not stored yet, the key is
    assert served(database) == ("batch", 1, 10, 1, 0, 0)
    assert log.store(partition=1) == 0
    assert stale(database) == []


def test_a_duplicate_at_another_position_that_is_consumed_since_the_prepare_leaves_too(
    database: Database, log: MemoryLog, sessions: list[sa.Connection]
) -> None:
    log.append(seen(0, aqi=10), partition=0)
    log.append(seen(0, aqi=99), partition=1)
    log.store(partition=0)
    prepare(sessions[0], [HOUR], ZONE)
    assert log.consume(partition=1) == 1
    assert swap(sessions[0], HOUR, ZONE, "test") == 1
    assert served(database) == ("batch", 1, 10, 1, 0, 0)


def test_a_swap_is_given_up_when_a_newer_result_came_first(
    database: Database, log: MemoryLog, sessions: list[sa.Connection]
) -> None:
    older, newer = sessions
    log.append(seen(0, aqi=10))
    log.consume()
    log.store()
    prepare(older, [HOUR], ZONE)
    log.append(seen(6, aqi=20))
    log.consume()
    log.store()
    prepare(newer, [HOUR], ZONE)
    assert swap(newer, HOUR, ZONE, "newer") == 2
    before = contents(database)
    assert swap(older, HOUR, ZONE, "older") is None
    assert contents(database) == before


def test_a_swap_is_given_up_for_a_newer_result_of_a_partition_it_does_not_know(
    database: Database, log: MemoryLog, sessions: list[sa.Connection]
) -> None:
    older, newer = sessions
    log.append(seen(0, aqi=10))
    log.store()
    prepare(older, [HOUR], ZONE)
    import_observations(database.writer, observed(database, seen(6, aqi=20)), "import:a.csv")
    prepare(newer, [HOUR], ZONE)
    assert swap(newer, HOUR, ZONE, "newer") == 0
    assert swap(older, HOUR, ZONE, "older") is None
    assert served(database) == ("batch", 2, 30, 2, 0, 0)


def test_a_swap_of_the_same_positions_gives_the_same_result(
    database: Database, log: MemoryLog, sessions: list[sa.Connection]
) -> None:
    log.append(seen(0, aqi=10))
    log.store()
    for connection in sessions:
        prepare(connection, [HOUR], ZONE)
    assert swap(sessions[0], HOUR, ZONE, "one") == 0
    before = results(database)
    assert swap(sessions[1], HOUR, ZONE, "two") == 0
    assert results(database) == before


def test_an_hour_that_others_keep_publishing_may_be_tried_again(
    database: Database, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(seen(0, aqi=10))
    log.consume()
    log.store()
    monkeypatch.setattr(publish_module, "swap", lambda *_: None)
    before = contents(database)
    with pytest.raises(TransientError, match=r"hour 2025-06-02T03:00:00\+00:00 was published by others 5 times"):
        publish_hours(database.writer, [HourToPublish(HOUR, 1)], ZONE, "test")
    assert contents(database) == before


@pytest.mark.parametrize("partition", [0, 1], ids=["of the same record", "of a duplicate"])
def test_a_row_that_took_another_ones_place_in_the_table_since_the_prepare_stays(
    database: Database, log: MemoryLog, sessions: list[sa.Connection], partition: int
) -> None:
    log.append(seen(0, aqi=10), partition=0)
    log.append(seen(0, aqi=99), partition=1)
    log.consume(partition=partition)
    log.store(partition=0)
    places = [database.scalar("select ctid from realtime_data")]
    for connection in sessions:
        prepare(connection, [HOUR], ZONE)
    assert swap(sessions[0], HOUR, ZONE, "one") == 1
    with database.owner.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("vacuum realtime_data"))
    log.append(seen(6, aqi=20))
    log.consume()
    places.append(database.scalar("select ctid from realtime_data"))
    assert places[0] == places[1]
    assert swap(sessions[1], HOUR, ZONE, "two") == 0
    assert served(database) == ("both", 2, 30, 2, 0, 0)


def test_publish_hours_prepares_again_what_others_published_meanwhile(
    database: Database, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(seen(0, aqi=10))
    log.store()
    real, interruptions = publish_module.prepare, iter([True])

    def interrupted(connection: sa.Connection, hours: list[datetime], timezone: str) -> None:
        real(connection, hours, timezone)
        if next(interruptions, False):
            log.append(seen(6, aqi=20))
            log.store()
            with session(database.writer) as other:
                real(other, [HOUR], ZONE)
                swap(other, HOUR, ZONE, "other")

    monkeypatch.setattr(publish_module, "prepare", interrupted)
    run = publish_hours(database.writer, [HourToPublish(HOUR, 1)], ZONE, "test")
    assert (run.hours, run.prepared_again) == (1, 1)
    assert served(database) == ("batch", 2, 30, 2, 0, 0)


@pytest.mark.parametrize(("rows", "hours"), [(1, 500), (10**6, 1)], ids=["by rows", "by hours"])
def test_many_hours_are_published_in_chunks(
    database: Database, log: MemoryLog, monkeypatch: pytest.MonkeyPatch, rows: int, hours: int
) -> None:
    monkeypatch.setattr(publish_module, "CHUNK_ROWS", rows)
    monkeypatch.setattr(publish_module, "CHUNK_HOURS", hours)
    starts = [HOUR + timedelta(hours=step) for step in (5, 0, 2, 1)]
    log.append(*(seen(0, hour=hour, aqi=1) for hour in starts))
    log.consume()
    log.store()
    told: list[datetime] = []
    wanted = hours_to_publish(database.writer, DAY, DAY_AFTER)
    run = publish_hours(database.writer, wanted, ZONE, "test", lambda hour: told.append(hour.hour_start))
    assert (run.hours, run.rows, run.moved, run.prepared_again) == (4, 4, 4, 0)
    assert told == sorted(starts)
    assert keys(database, "realtime_data") == []


def test_a_covered_row_that_raw_data_lost_is_named_and_nothing_changes(
    database: Database, log: MemoryLog, sessions: list[sa.Connection]
) -> None:
    log.append(seen(0, aqi=10), seen(6, aqi=20), seen(12, aqi=30), partition=1)
    log.consume(partition=1)
    log.store(partition=1)
    with transaction(database.owner) as connection:
        connection.execute(sa.text("delete from raw_data where log_offset = 1"))
    before = contents(database)
    prepare(sessions[0], [HOUR], ZONE)
    with pytest.raises(UnionViolationError, match=r"observations\[1\]@1 \(Krukut, 2025-06-02T03:06"):
        swap(sessions[0], HOUR, ZONE, "test")
    assert contents(database) == before
    assert served(database) == ("speed", 3, 60, 3, 0, 0)


@pytest.mark.parametrize(
    "query",
    [
        "replace_hour",
        "cover_hour",
        "remove_equal",
        "remove_other",
        "remove_published",
        "recompute_realtime_hour",
        "note_publication",
    ],
)
def test_a_swap_that_fails_at_any_step_leaves_nothing(
    database: Database, log: MemoryLog, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    log.append(seen(0, aqi=10), seen(6, aqi=20))
    log.consume()
    log.store(1)  # something of the hour remains in the speed layer
    before = contents(database)
    real = publish_module.sql

    def fails(name: str) -> sa.TextClause:
        return sa.text("select 1 / 0") if name == f"batch/{query}" else real(name)

    with monkeypatch.context() as patch:
        patch.setattr(publish_module, "sql", fails)
        with pytest.raises(sa.exc.DataError, match="division by zero"):
            publish(database, HOUR)
    assert contents(database) == before
    assert publish(database, HOUR) == [1]


def test_publishing_again_gives_the_same_rows(database: Database, log: MemoryLog) -> None:
    for minute in range(0, 60, 7):
        log.append(*(seen(minute, place, aqi=minute, speeds=(minute, 60)) for place in ("Krukut", "Cinere")))
    log.consume()
    log.store()
    publish(database, HOUR)
    compute_all_days(database)
    before = results(database)
    assert stale(database) == []
    assert stale(database, everything=True) == [HOUR]
    publish(database, HOUR)
    compute_all_days(database)
    assert results(database) == before


def test_the_city_hour_is_the_sum_of_its_locations(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10, level=1), seen(6, aqi=30), seen(0, "Cinere", aqi=50, speeds=(20, 40)))
    log.store()
    publish(database, HOUR)
    columns = (
        "locations, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, speed_sum_m_h"
    )
    found = database.rows(f"select {columns} from city_hourly")
    assert [tuple(row) for row in found] == [(2, 3, 90, 3, 10, 50, 5, 2, 20_000)]


def test_only_hours_of_the_asked_days_are_published(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, hour=LAST_HOUR), seen(0, hour=TOMORROWS_HOUR))
    log.store()
    assert stale(database) == [LAST_HOUR]
    both = hours_to_publish(database.writer, DAY, DAY_AFTER + timedelta(days=1))
    assert [hour.hour_start for hour in both] == [LAST_HOUR, TOMORROWS_HOUR]


# ---------------------------------------------------------------- the tables of a day


def test_served_daily_is_the_same_before_and_after_the_day_is_computed(database: Database, log: MemoryLog) -> None:
    morning = datetime(2025, 6, 1, 23, tzinfo=UTC)  # 06:00 in Jakarta, a peak hour
    for place in ("Krukut", "Cinere", "Gunung"):
        for step, hour in enumerate((morning, HOUR, LAST_HOUR)):
            log.append(
                seen(step, place, aqi=len(place) * (step + 1), hour=hour),
                seen(30, place, speeds=(step * 10, 37), hour=hour),
            )
    log.append(seen(1, "Kemayoran"), seen(0, hour=TOMORROWS_HOUR, aqi=500))
    log.consume()
    from_speed = daily(database)
    log.store()
    publish(database, morning, HOUR, LAST_HOUR, TOMORROWS_HOUR)
    from_hours = daily(database)
    assert not city_daily_is_fresh(database)
    compute_all_days(database)
    assert city_daily_is_fresh(database)
    from_days = daily(database)
    assert from_days == from_hours
    expected = "expected_count"  # only the batch layer's rows say how many were expected
    columns = [name for name in database.rows("select * from served_daily limit 1")[0]._fields if name != expected]
    where = [database.rows("select * from served_daily limit 1")[0]._fields.index(name) for name in columns]
    assert [[row[i] for i in where] for row in from_speed] == [[row[i] for i in where] for row in from_days]


def test_a_late_publish_makes_the_day_stale_until_it_is_computed_again(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10))
    log.store()
    publish(database, HOUR)
    compute_all_days(database)
    log.append(seen(6, aqi=30))
    log.consume()
    served_aqi = "select aqi_count, avg_aqi from served_daily"
    assert tuple(database.rows(served_aqi)[0]) == (2, 20.0)
    log.store()
    publish(database, HOUR)
    assert not city_daily_is_fresh(database)
    assert tuple(database.rows(served_aqi)[0]) == (2, 20.0)
    compute_all_days(database)
    assert city_daily_is_fresh(database)
    assert tuple(database.rows(served_aqi)[0]) == (2, 20.0)


def test_a_late_event_in_the_speed_layer_makes_the_day_come_from_its_hours(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10))
    log.store()
    publish(database, HOUR)
    compute_all_days(database)
    log.append(seen(6, aqi=30), seen(12, aqi=20))
    log.consume()
    assert city_daily_is_fresh(database)
    assert tuple(database.rows("select aqi_count, avg_aqi from served_daily")[0]) == (3, 20.0)


def test_a_publish_while_the_day_is_computed_leaves_it_stale(
    database: Database, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lambda_pipeline.batch import days

    log.append(seen(0, aqi=10))
    log.store()
    publish(database, HOUR)
    real = days.sql

    def interrupted(name: str) -> sa.TextClause:
        if name == "batch/daily_aggregations":  # after the publication was noted
            log.append(seen(6, aqi=30))
            log.store()
            publish(database, HOUR)
        return real(name)

    monkeypatch.setattr(days, "sql", interrupted)
    compute_days(database.writer, "daily_aggregations", DAY, DAY_AFTER, "test")
    assert not city_daily_is_fresh(database)
    assert tuple(database.rows("select aqi_count, avg_aqi from served_daily")[0]) == (2, 20.0)


def test_computing_a_day_leaves_the_others_alone(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, hour=HOUR, aqi=10), seen(0, hour=TOMORROWS_HOUR, aqi=20))
    log.store()
    publish(database, HOUR, TOMORROWS_HOUR)
    compute_days(database.writer, "daily_aggregations", DAY_AFTER, DAY_AFTER + timedelta(days=1), "test")
    assert compute_days(database.writer, "daily_aggregations", DAY, DAY_AFTER, "test") == 1
    found = database.rows("select date, avg_aqi from batch_aggregations where hour is null order by date")
    assert [tuple(row) for row in found] == [(DAY, 10.0), (DAY_AFTER, 20.0)]


def test_a_day_without_hours_has_no_rows(database: Database) -> None:
    before = contents(database)
    assert [compute_days(database.writer, table, DAY, DAY_AFTER, "test") for table in DAY_TABLES] == [0, 0, 0]
    assert contents(database) == before


def peak(database: Database) -> tuple[object, ...]:
    compute_days(database.writer, "peak_hours", DAY, DAY_AFTER, "test")
    columns = (
        "peak_aqi_hour, peak_aqi_value, peak_aqi_location, peak_traffic_hour, peak_traffic_value, peak_traffic_location"
    )
    return tuple(database.rows(f"select {columns} from peak_hours where analysis_date = :day", day=DAY)[0])


@pytest.mark.parametrize(
    ("observations", "worst"),
    [
        (
            [seen(0, "Krukut", aqi=10, level=5), seen(0, "Cinere", aqi=90, level=1)],
            (10, 90.0, "Cinere", 10, 5.0, "Krukut"),
        ),
        (  # a tie: the earlier hour, even where its name comes later
            [seen(0, "Krukut", aqi=90), seen(0, "Cinere", aqi=90, hour=NEXT_HOUR)],
            (10, 90.0, "Krukut", None, None, None),
        ),
        (  # a tie within the hour: the name
            [seen(0, "Krukut", level=4), seen(0, "Cinere", level=4)],
            (None, None, None, 10, 4.0, "Cinere"),
        ),
        (  # the worst average, not the worst value
            [seen(0, "Krukut", aqi=100), seen(6, "Krukut", aqi=0), seen(0, "Cinere", aqi=60)],
            (10, 60.0, "Cinere", None, None, None),
        ),
        (  # an AQI of 0 is a value, a missing one is none
            [seen(0, "Krukut"), seen(0, "Cinere", aqi=0)],
            (10, 0.0, "Cinere", None, None, None),
        ),
        ([seen(0)], (None,) * 6),
    ],
    ids=["each measure its own", "earlier hour", "name", "average", "zero", "nothing measured"],
)
def test_the_worst_hour_and_place_of_a_day(
    database: Database, log: MemoryLog, observations: list, worst: tuple[object, ...]
) -> None:
    log.append(*observations)
    log.store()
    publish(database, *stale(database))
    assert peak(database) == worst


def test_the_worst_hour_follows_a_publish(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=50))
    log.store()
    publish(database, HOUR)
    assert peak(database)[:3] == (10, 50.0, "Krukut")
    log.append(seen(0, "Cinere", aqi=80, hour=NEXT_HOUR))
    log.store()
    publish(database, NEXT_HOUR)
    assert peak(database)[:3] == (11, 80.0, "Cinere")
    assert database.scalar("select count(*) from peak_hours") == 1


def test_peak_hours_analysis_has_a_row_per_location_and_hour(database: Database, log: MemoryLog) -> None:
    morning = datetime(2025, 6, 1, 23, tzinfo=UTC)
    log.append(seen(0, aqi=10, level=2, hour=morning), seen(6, aqi=20, hour=morning), seen(0, level=4))
    log.store()
    publish(database, morning, HOUR)
    assert compute_days(database.writer, "peak_hours_analysis", DAY, DAY_AFTER, "test") == 2
    columns = "date, hour, hour_start, location, avg_traffic_level, avg_aqi_value, is_peak_hour, total_records"
    found = database.rows(f"select {columns} from peak_hours_analysis order by hour_start")
    assert [tuple(row) for row in found] == [
        (DAY, 6, morning, "Krukut", 2.0, 15.0, True, 2),
        (DAY, 10, HOUR, "Krukut", 4.0, None, False, 1),
    ]
