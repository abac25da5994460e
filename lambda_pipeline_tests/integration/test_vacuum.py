"""Tables whose rows come and go all day stay as small as what they hold, with nobody who vacuums them."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from lambda_pipeline_tests.integration.observations import HOUR, MemoryLog, publish, seen
from lambda_pipeline_tests.processes import wait_for
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

ROUNDS, ROWS = 5, 2000
CHURNED = ("realtime_data", "realtime_hourly")


@pytest.fixture
def eager(database: Database) -> Iterator[Database]:
    """A database whose server looks every second what is to be vacuumed, not every minute."""
    with database.postgres_connection() as connection:
        connection.execute("alter system set autovacuum_naptime = '1s'")
        connection.execute("select pg_reload_conf()")
    yield database
    with database.postgres_connection() as connection:
        connection.execute("alter system reset autovacuum_naptime")
        connection.execute("select pg_reload_conf()")


def size(database: Database, table: str) -> int:
    """Bytes of a table and its indexes."""
    return int(str(database.scalar("select pg_total_relation_size(cast(:table as regclass))", table=table)))


def vacuumed(database: Database, table: str) -> int:
    query = "select autovacuum_count from pg_stat_user_tables where relname = :table"
    return int(str(database.scalar(query, table=table)))


def test_hours_that_come_and_are_published_do_not_let_the_speed_tables_grow(eager: Database) -> None:
    log = MemoryLog(eager)
    largest: dict[str, list[int]] = {table: [] for table in CHURNED}
    places = sorted(log.validator.locations)
    for number in range(ROUNDS):
        hour = HOUR + timedelta(hours=number)
        seconds = range(ROWS // len(places))
        log.append(*(seen(second / 60, place, aqi=50, hour=hour) for second in seconds for place in places))
        log.consume()
        before = {table: vacuumed(eager, table) for table in CHURNED}
        for table in CHURNED:
            largest[table].append(size(eager, table))
        log.store()
        publish(eager, hour)
        assert eager.scalar("select count(*) from realtime_data") == 0
        wait_for(
            lambda before=before: vacuumed(eager, "realtime_data") > before["realtime_data"],
            "PostgreSQL vacuums realtime_data by itself",
        )
    assert max(largest["realtime_data"]) < 3 * largest["realtime_data"][0]  # five times, if nobody vacuumed
    assert max(largest["realtime_hourly"]) <= 4 * largest["realtime_hourly"][0]


def test_offsets_that_move_all_the_time_stay_on_their_page(database: Database) -> None:
    log = MemoryLog(database, partitions=4)
    for partition in range(4):
        log.append(seen(partition), partition=partition)
        log.consume(partition=partition)
    with psycopg.connect(database.url(), autocommit=True) as connection:
        for _ in range(5_000):
            connection.execute("update stream_offsets set next_offset = next_offset + 1, updated_at = now()")
    assert size(database, "stream_offsets") <= 12 * 8192, "20,000 dead rows are a hundred pages"
