"""What a publish measures of the speed layer, against what batch says of the same positions."""

import logging
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from lambda_pipeline.batch.publish import HourToPublish, Parity, PublishRun, prepare, publish_hours, swap
from lambda_pipeline.storage.engine import begin, session, transaction
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql_text
from lambda_pipeline_tests.integration.observations import HOUR, NEXT_HOUR, ZONE, MemoryLog, keys, seen, served
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


@pytest.fixture
def log(database: Database) -> MemoryLog:
    return MemoryLog(database, partitions=2)


@pytest.fixture
def publishing(database: Database) -> Iterator[sa.Connection]:
    with session(database.writer) as connection:
        yield connection


def published(database: Database) -> PublishRun:
    hours = [HourToPublish(hour, 1) for hour in (HOUR, NEXT_HOUR)]
    return publish_hours(database.writer, hours, ZONE, "test")


def noted(database: Database) -> tuple[object, ...]:
    """What the publication of the hour keeps."""
    columns = "parity_compared, parity_duplicates, parity_differing, parity_drift"
    return tuple(database.rows(f"select {columns} from published_hours where hour_start = :hour", hour=HOUR)[0])


def tamper(database: Database, statement: str) -> None:
    with transaction(database.owner) as connection:
        connection.execute(sa.text(statement))


def test_both_layers_say_the_same(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10, level=2, speeds=(12.3456, 33.3)), seen(6), seen(0, "Cinere", aqi=0))
    log.append(seen(0, hour=NEXT_HOUR, aqi=7))
    log.consume()
    log.store()
    assert published(database).parity == Parity(compared=4)
    assert noted(database) == (3, 0, 0, 0)


def test_what_the_speed_layer_never_held_is_not_compared(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10), seen(6, aqi=20))
    log.store()
    log.consume(1)
    assert published(database).parity == Parity(compared=1)


def test_a_duplicate_that_batch_knows_by_another_position_may_have_other_values(
    database: Database, log: MemoryLog
) -> None:
    log.append(seen(0, aqi=10), seen(6, aqi=5), partition=0)
    log.append(seen(0, aqi=99), partition=1)
    log.consume(partition=1)
    log.consume(partition=0)
    log.store(partition=0)
    assert published(database).parity == Parity(compared=1, duplicates=1)
    assert noted(database) == (1, 1, 0, 0)
    assert served(database) == ("batch", 2, 15, 2, 0, 0)


@pytest.mark.parametrize(
    "change",
    [
        "aqi_value = 11", "aqi_value = null", "traffic_level = 5", "current_speed = 12.3457", "congestion_ratio = 0.5",
        "congestion_ratio = null",
    ],
)  # fmt: skip
def test_a_row_with_other_values_is_counted_and_named(
    database: Database, log: MemoryLog, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    log.append(seen(12, "Cinere"), partition=0)
    log.append(*(seen(minute, aqi=10, level=2, speeds=(12.3456, 33.3)) for minute in (18, 0, 6)), partition=1)
    for partition in (0, 1):
        log.consume(partition=partition)
        log.store(partition=partition)
    tamper(database, f"update realtime_data set {change} where log_offset in (1, 2)")
    run = published(database)
    assert run.parity == Parity(compared=4, differing=2, drift=1, first_differing="observations[1]@1")
    assert noted(database) == (4, 0, 2, 1)
    (said, _) = (record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert said.startswith("hour 2025-06-02T03:00:00+00:00: 2 of 4 observations had other values")
    assert "observations[1]@1" in said
    assert served(database) == ("batch", 3, 30, 3, 6, 3)


def test_a_row_that_was_consumed_since_the_prepare_is_compared_too(
    database: Database, log: MemoryLog, publishing: sa.Connection
) -> None:
    log.append(seen(0, aqi=10), seen(6, aqi=20), seen(12, aqi=30))
    log.consume(1)
    log.store()
    prepare(publishing, [HOUR], ZONE)
    log.consume()
    tamper(database, "update realtime_data set aqi_value = 21 where log_offset = 1")
    total = Parity()
    assert swap(publishing, HOUR, ZONE, "test", total) == 3
    assert total == Parity(compared=3, differing=1, first_differing="observations[0]@1")
    assert keys(database, "realtime_data") == []


def test_a_row_that_moved_within_its_table_since_the_prepare_leaves_the_speed_layer_all_the_same(
    database: Database, log: MemoryLog, publishing: sa.Connection
) -> None:
    log.append(seen(0, aqi=10), seen(6, aqi=20), seen(0, hour=NEXT_HOUR))
    log.consume()
    log.store()
    prepare(publishing, [HOUR], ZONE)
    tamper(database, "update realtime_data set is_active = false where hour_start = '2025-06-02T03:00Z'")
    tamper(database, "delete from realtime_data where log_offset = 2")
    total = Parity()
    assert swap(publishing, HOUR, ZONE, "test", total) == 2
    assert total == Parity(compared=2)
    assert keys(database, "realtime_data") == []


@pytest.mark.parametrize(
    "change",
    [
        "update realtime_hourly set aqi_sum = aqi_sum + 1 where location = 'Krukut'",
        "update realtime_hourly set data_points_count = 3 where location = 'Krukut'",
        "update realtime_hourly set max_ratio = 1 where location = 'Krukut'",
        "delete from realtime_hourly where location = 'Krukut'",
        "insert into realtime_hourly select hour_start, 'Gunung', date, hour, 0, 0, 0, null, null, 0, 0, null, null, "
        "0, 0, null, null, 0, 0, null, null from realtime_hourly where location = 'Cinere'",
    ],
)
def test_sums_that_are_not_those_of_the_observations_are_counted(
    database: Database, log: MemoryLog, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    log.append(seen(0, aqi=10, level=2, speeds=(12.3456, 33.3)), seen(6), seen(0, "Cinere", aqi=0))
    log.consume()
    log.store()
    tamper(database, change)
    run = published(database)
    assert run.parity == Parity(compared=3, drift=1)
    assert noted(database) == (3, 0, 0, 1)
    assert "realtime_hourly was not the sum of realtime_data at 1 locations" in caplog.text


@pytest.mark.parametrize("known", [0, 600])
def test_rows_that_no_statistics_know_are_found_by_a_hash_of_the_whole_key(
    database: Database, log: MemoryLog, publishing: sa.Connection, known: int
) -> None:
    """Of two tables where it expects nothing, the planner would join every row of the one with all of the other."""
    places = ("Krukut", "Cinere", "Gunung", "Kemayoran", "GBK, Gelora")
    for hour in (HOUR, NEXT_HOUR):
        log.append(*(seen(minute, place, hour=hour) for minute in range(60) for place in places))
    for end in (known // 2, log.end()):
        log.consume(end)
        log.store(end)
        if end == known // 2:
            tamper(database, "analyze")
    values = {"hours": [NEXT_HOUR], "start": NEXT_HOUR, "end": NEXT_HOUR + timedelta(hours=1)}
    prepare(publishing, [NEXT_HOUR], ZONE)
    with begin(publishing):
        for plan in ("plan_by_index", "plan_by_hash"):
            run_script(publishing, sql_text(f"batch/{plan}"))
        rows = publishing.execute(sa.text("explain " + sql_text("batch/prepare_moves")), values).scalars()
        plan = "\n".join(rows)
    assert "Hash Join" in plan
    assert "Nested Loop" not in plan
    assert "Merge Join" not in plan
    assert re.search(r"Hash Cond: .*location.*timestamp", plan)
    assert swap(publishing, NEXT_HOUR, ZONE, "test") == 300


def test_a_publication_keeps_what_it_found_itself(database: Database, log: MemoryLog) -> None:
    log.append(seen(0, aqi=10))
    log.consume()
    log.store()
    tamper(database, "update realtime_data set aqi_value = 11")
    assert published(database).parity.differing == 1
    log.append(seen(6, aqi=20))
    log.consume()
    log.store()
    assert published(database).parity == Parity(compared=1)
    assert noted(database) == (1, 0, 0, 0)


def test_a_swap_that_fails_adds_nothing(
    database: Database, log: MemoryLog, publishing: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lambda_pipeline.batch import publish

    log.append(seen(0, aqi=10))
    log.consume()
    log.store()
    prepare(publishing, [HOUR], ZONE)
    real, total = publish.sql, Parity()
    with monkeypatch.context() as patch:
        patch.setattr(
            publish, "sql", lambda name: sa.text("select 1 / 0") if name == "batch/note_publication" else real(name)
        )
        with pytest.raises(sa.exc.DataError, match="division by zero"):
            swap(publishing, HOUR, ZONE, "test", total)
    assert total == Parity()
    assert swap(publishing, HOUR, ZONE, "test", total) == 1
    assert total == Parity(compared=1)
