"""Storing and publishing, step by step: frontiers, prepare, swap, imports and the tables of a day."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from lambda_pipeline.batch import publish as publish_module
from lambda_pipeline.batch.days import DayTable, compute_days
from lambda_pipeline.batch.publish import HourToPublish, hours_to_publish, prepare, publish_hours, swap
from lambda_pipeline.batch.raw_data import import_observations
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
    log.append(MALFORMED, partition=1)  # so that the duplicate has another offset, too
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
