"""The speed commit's promises, each on a real PostgreSQL."""

import threading

import pytest

from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.errors import StaleOffsetsError
from lambda_pipeline.speed import commit
from lambda_pipeline.speed.commit import MicroBatch, commit_micro_batch, load_offsets
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.deployment import register_locations
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.observations import (
    HOUR,
    MALFORMED,
    NEXT_HOUR,
    ZONE,
    MemoryLog,
    at,
    contents,
    keys,
    observed,
    publish,
    seen,
    served,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


def latest(database: Database, columns: str, location: str = "Krukut") -> tuple[object, ...]:
    rows = database.rows(f"select {columns} from latest_observations where location = :location", location=location)
    return tuple(rows[0])


# ---------------------------------------------------------------- what a commit gains


def test_a_batch_gains_its_observations(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=10), seen(6, aqi=20), seen(0, "Cinere"))
    assert log.consume() == 3
    assert keys(database, "realtime_data") == [("Cinere", 0), ("Krukut", 0), ("Krukut", 6)]
    assert served(database) == ("speed", 2, 30, 2, 0, 0)


def test_an_observation_delivered_twice_in_a_batch_counts_once_with_its_first_values(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=10), seen(0, aqi=99))
    assert log.consume() == 1
    assert served(database) == ("speed", 1, 10, 1, 0, 0)


def test_an_observation_delivered_again_later_counts_once_with_its_first_values(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=10))
    assert log.consume() == 1
    log.append(seen(0, aqi=99), seen(6, aqi=20))
    assert log.consume() == 1
    assert served(database) == ("speed", 2, 30, 2, 0, 0)


def test_of_two_partitions_in_one_batch_the_lower_position_wins(database: Database) -> None:
    log = MemoryLog(database, partitions=2)
    log.append(seen(0, aqi=99), seen(6, aqi=20), partition=1)
    log.append(seen(6, aqi=98), seen(0, aqi=10), partition=0)
    batch = log.micro_batch({1: (0, 2), 0: (0, 2)})
    assert commit_micro_batch(database.writer, batch, ZONE) == 2
    assert served(database) == ("speed", 2, 108, 2, 0, 0)
    assert {row.log_partition for row in database.rows("select log_partition from realtime_data")} == {
        log.partitions[0].id
    }


def test_an_empty_batch_changes_nothing(database: Database) -> None:
    before = contents(database)
    assert commit_micro_batch(database.writer, MicroBatch((), (), ()), ZONE) == 0
    assert contents(database) == before


def test_the_same_instant_at_two_places_is_two_observations(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, "Krukut"), seen(0, "Cinere"))
    assert log.consume() == 2


# ---------------------------------------------------------------- offsets


def test_the_offset_moves_with_the_batch(database: Database) -> None:
    log = MemoryLog(database, partitions=2)
    assert load_offsets(database.writer, log.partitions) == {0: None, 1: None}
    log.append(seen(0), seen(6), MALFORMED)
    log.consume()
    assert load_offsets(database.writer, log.partitions) == {0: 3, 1: None}


@pytest.mark.parametrize("expected", [0, 1, 3, 7])
def test_a_batch_with_another_offset_than_the_stored_is_refused_and_changes_nothing(
    database: Database, expected: int
) -> None:
    log = MemoryLog(database)
    log.append(*(seen(minute, aqi=minute) for minute in range(9)), MALFORMED)
    log.consume(2)
    before = contents(database)
    with pytest.raises(StaleOffsetsError, match=rf"observations\[0\]@{expected}"):
        commit_micro_batch(database.writer, log.micro_batch({0: (expected, 10)}), ZONE)
    assert contents(database) == before


def test_a_first_batch_that_expects_an_offset_is_refused(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0), seen(6))
    with pytest.raises(StaleOffsetsError):
        commit_micro_batch(database.writer, log.micro_batch({0: (1, 2)}), ZONE)
    assert keys(database, "realtime_data") == []


def test_one_stale_partition_refuses_the_whole_batch(database: Database) -> None:
    log = MemoryLog(database, partitions=2)
    log.append(seen(0), seen(1), partition=0)
    log.append(seen(2), seen(3), partition=1)
    log.consume(1, partition=1)
    before = contents(database)
    with pytest.raises(StaleOffsetsError, match=r"observations\[1\]@0"):
        commit_micro_batch(database.writer, log.micro_batch({0: (0, 2), 1: (0, 2)}), ZONE)
    assert contents(database) == before


def test_a_first_batch_may_start_where_retention_left_the_log(database: Database) -> None:
    log = MemoryLog(database)
    log.append(*(seen(minute) for minute in range(5)))
    batch = log.micro_batch({0: (3, 5)})
    move = batch.moves[0].__class__(log.partitions[0], 0, 5)
    assert commit_micro_batch(database.writer, MicroBatch(batch.observations, (), (move,)), ZONE) == 2
    assert load_offsets(database.writer, log.partitions) == {0: 5}


def test_two_consumers_of_one_partition_at_once_commit_it_once(database: Database) -> None:
    log = MemoryLog(database)
    log.append(*(seen(minute, aqi=1) for minute in range(50)))
    batch = log.micro_batch({0: (0, 50)})
    outcomes: list[object] = []
    start = threading.Barrier(2)

    def consumer() -> None:
        start.wait()
        try:
            outcomes.append(commit_micro_batch(database.writer, batch, ZONE))
        except StaleOffsetsError:
            outcomes.append("stale")

    threads = [threading.Thread(target=consumer) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes, key=str) == [50, "stale"]
    assert served(database) == ("speed", 50, 50, 50, 0, 0)


def test_consumers_of_other_partitions_with_the_same_observations_count_them_once(database: Database) -> None:
    partitions, rounds = 3, 8
    log = MemoryLog(database, partitions=partitions)
    for number in range(partitions):
        for minute in range(rounds * 5):
            log.append(seen(minute, aqi=1), seen(minute, "Cinere", aqi=1), partition=number)
    gained: list[int] = []

    def consumer(number: int) -> None:
        for step in range(rounds):
            span = {number: (step * 10, step * 10 + 10)}
            gained.append(commit_micro_batch(database.writer, log.micro_batch(span), ZONE))

    threads = [threading.Thread(target=consumer, args=(number,)) for number in range(partitions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(gained) == partitions * rounds
    assert sum(gained) == 2 * rounds * 5
    assert served(database) == ("speed", rounds * 5, rounds * 5, rounds * 5, 0, 0)


# ---------------------------------------------------------------- dead letters


def test_a_dead_letter_is_kept_whole_and_the_rest_goes_on(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0), MALFORMED, None, b"\x00\xff", seen(6))
    assert log.consume() == 2
    kept = database.rows("select log_offset, key, payload, error from dead_letters order by log_offset")
    assert [(row.log_offset, row.key, row.payload) for row in kept] == [
        (1, b"key", MALFORMED),
        (2, b"key", None),
        (3, b"key", b"\x00\xff"),
    ]
    assert all(row.error for row in kept)


def test_a_dead_letter_that_batch_kept_already_is_kept_once(database: Database) -> None:
    log = MemoryLog(database)
    log.append(MALFORMED, seen(0))
    log.store()
    log.consume()
    assert database.scalar("select count(*) from dead_letters") == 1


def test_what_batch_found_invalid_stays_so_when_the_catalogue_grows(database: Database) -> None:
    """Else the speed layer would hold a row below raw_data's frontier, which no publish would ever contain."""
    log = MemoryLog(database)
    log.append(seen(0, "New Place"), seen(0))
    log.store()
    with transaction(database.writer) as connection:
        register_locations(connection, [Location("New Place")], "catalogue")
    grown = MemoryLog(database).validator
    log.validator = grown
    assert log.consume() == 1
    assert database.scalar("select array_agg(location) from latest_observations") == ["Krukut"]
    assert publish(database, HOUR) == [1]
    assert keys(database, "served_observations") == [("Krukut", 0)]


# ---------------------------------------------------------------- what batch holds


def test_what_is_published_is_not_taken_in_again(database: Database) -> None:
    log = MemoryLog(database, partitions=2)
    log.append(seen(0, aqi=10), seen(6, aqi=20))
    log.store()
    publish(database, HOUR)
    assert log.consume() == 0
    log.append(seen(0, aqi=99), partition=1)  # again, in another partition
    assert log.consume(partition=1) == 0
    assert served(database) == ("batch", 2, 30, 2, 0, 0)


def test_what_is_published_refreshes_the_latest_all_the_same(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=10), seen(6, level=3))
    log.store()
    publish(database, HOUR)
    assert log.consume() == 0
    assert latest(database, "observed_at, aqi_value, traffic_level") == (at(6), 10, 3)


def test_what_is_stored_but_not_published_is_the_speed_layers_to_serve(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=10))
    log.store()
    assert log.consume() == 1
    assert served(database) == ("speed", 1, 10, 1, 0, 0)


def test_what_is_stored_after_the_publish_is_the_speed_layers_to_serve(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=10))
    log.store()
    publish(database, HOUR)
    log.append(seen(6, aqi=20))
    log.store()
    assert log.consume() == 1
    assert served(database) == ("both", 2, 30, 2, 0, 0)


def test_what_an_import_published_is_not_taken_in_from_the_log(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=99))
    import_observations(database.writer, observed(database, seen(0, aqi=10)), "import:test.csv")
    publish(database, HOUR)
    assert log.consume() == 0
    assert served(database) == ("batch", 1, 10, 1, 0, 0)


# ---------------------------------------------------------------- all or nothing


@pytest.mark.parametrize("step", ["copy_incoming", "_move_offsets", "upsert_latest", "insert_dead_letters"])
def test_a_commit_that_fails_at_any_step_leaves_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=10), MALFORMED)
    log.consume()
    log.append(seen(6, aqi=20), seen(0, hour=NEXT_HOUR), MALFORMED)
    before = contents(database)
    real = getattr(commit, step)

    def fails(*args: object) -> None:
        real(*args)
        raise RuntimeError("the process dies here")

    with monkeypatch.context() as patch:
        patch.setattr(commit, step, fails)
        with pytest.raises(RuntimeError, match="dies here"):
            log.consume()
    assert contents(database) == before
    assert log.consume() == 2  # and nothing is left in the way of the next attempt
    assert served(database) == ("speed", 2, 30, 2, 0, 0)


def test_a_commit_waits_for_a_swap_and_commits_do_not_wait_for_each_other(database: Database) -> None:
    log = MemoryLog(database, partitions=2)
    log.append(seen(0), partition=0)
    log.append(seen(6), partition=1)
    with transaction(database.writer) as other:
        locks.hold_publish_shared(other)
        assert log.consume(partition=0) == 1
    gained: list[int] = []
    thread = threading.Thread(target=lambda: gained.append(log.consume(partition=1)))
    with transaction(database.writer) as other:
        locks.hold_publish(other)
        thread.start()
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted and database = "
        waiting += "(select oid from pg_database where datname = current_database())"
        while not database.scalar(waiting):  # until the commit stands at the lock
            assert thread.is_alive()
        assert gained == []
    thread.join(30)
    assert gained == [1]
