"""The speed commit's promises, each on a real PostgreSQL."""

import json
import random
import threading
from datetime import timedelta
from typing import Any

import pytest

from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.errors import StaleOffsetsError
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.speed import commit
from lambda_pipeline.speed.commit import MicroBatch, commit_micro_batch, load_offsets
from lambda_pipeline.storage import locks
from lambda_pipeline.storage.deployment import register_locations
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
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

HOURLY_SUMS = (
    "hour_start, location, data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, "
    "min_traffic, max_traffic, speed_sum_m_h, speed_count, min_speed, max_speed, ratio_sum_ppb, ratio_count, "
    "min_ratio, max_ratio"
)
RECOMPUTED = (
    "select hour_start, location, count(*), coalesce(sum(aqi_value), 0), count(aqi_value), min(aqi_value), "
    "max(aqi_value), coalesce(sum(traffic_level), 0), count(traffic_level), min(traffic_level), max(traffic_level), "
    "coalesce(sum(round(current_speed * 1000)::bigint), 0), count(current_speed), min(current_speed), "
    "max(current_speed), coalesce(sum(round(congestion_ratio * 1e9)::bigint), 0), count(congestion_ratio), "
    "min(congestion_ratio), max(congestion_ratio) from realtime_data group by hour_start, location order by 1, 2"
)

NOTE_WHAT_IS_WRITTEN = """
create table written (number bigint generated always as identity, row {table});
create function note_what_is_written() returns trigger language plpgsql security definer as $$
begin
    insert into public.written (row) values (new);
    return new;
end $$;
create trigger note_what_is_written before insert on {table} for each row execute function note_what_is_written()
"""


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


# ---------------------------------------------------------------- the latest observations


def test_the_newest_observation_wins_whatever_the_order(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(6, aqi=20, speeds=(10, 40)), seen(12, aqi=30, speeds=(20, 40)), seen(0, aqi=10, speeds=(30, 40)))
    log.consume()
    columns = "observed_at, aqi_value, aqi_observed_at, current_speed, traffic_level, traffic_observed_at"
    assert latest(database, columns) == (at(12), 30, at(12), 20, 4, at(12))


def test_a_late_event_does_not_overwrite_a_newer_one(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(12, aqi=30, level=3, dominant_pollutant="pm25"))
    log.consume()
    log.append(seen(6, aqi=20, level=2, dominant_pollutant="o3"))
    assert log.consume() == 1
    columns = "observed_at, aqi_value, traffic_level, dominant_pollutant"
    assert latest(database, columns) == (at(12), 30, 3, "pm25")


def test_each_half_keeps_its_own_newest(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=10, level=1))
    log.consume()
    log.append(seen(6, aqi=20))
    log.consume()
    log.append(seen(12, speeds=(5, 50)))
    log.consume()
    columns = "observed_at, aqi_value, aqi_observed_at, traffic_level, current_speed, traffic_observed_at"
    assert latest(database, columns) == (at(12), 20, at(6), 5, 5, at(12))


def test_halves_within_one_batch(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(6, level=4), seen(0, aqi=10, level=1), seen(12), seen(3, aqi=20))
    log.consume()
    columns = "observed_at, aqi_value, aqi_observed_at, traffic_level, traffic_observed_at"
    assert latest(database, columns) == (at(12), 20, at(3), 4, at(6))


def test_a_late_half_fills_a_half_that_was_missing(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(12, aqi=30))
    log.consume()
    log.append(seen(6, level=2))
    log.consume()
    assert latest(database, "aqi_value, aqi_observed_at, traffic_level, traffic_observed_at") == (30, at(12), 2, at(6))


def test_on_a_tie_the_stored_value_stays(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=10), seen(0, aqi=20))
    log.consume()
    log.append(seen(0, aqi=30))
    log.consume()
    assert latest(database, "aqi_value") == (10,)


def test_a_late_event_does_not_move_the_place(database: Database) -> None:
    with transaction(database.writer) as connection:
        register_locations(connection, [Location("Mobile")], "import")
    log = MemoryLog(database)
    log.append(seen(6, "Mobile", latitude=1.0, longitude=1.0))
    log.consume()
    log.append(seen(0, "Mobile", latitude=2.0, longitude=2.0))
    log.consume()
    assert latest(database, "latitude, longitude", "Mobile") == (1.0, 1.0)
    log.append(seen(12, "Mobile"))  # newer, but it does not say where
    log.consume()
    assert latest(database, "latitude, longitude", "Mobile") == (1.0, 1.0)


def test_the_extras_come_with_their_measure(database: Database) -> None:
    log = MemoryLog(database)
    extras: dict[str, Any] = {
        "dominant_pollutant": "pm25",
        "pollutants": {"pm25": 10.0},
        "attributions": [{"name": "KLHK"}],
        "aqi_measured_at": at(-10),
    }
    log.append(seen(0, aqi=10, **extras), seen(6, level=1, road_closure=False))
    log.consume()
    columns = "dominant_pollutant, pollutants, attributions, aqi_measured_at, road_closure"
    assert latest(database, columns) == ("pm25", {"pm25": 10.0}, [{"name": "KLHK"}], at(-10), False)


# ---------------------------------------------------------------- the hourly sums


def assert_hourly_is_what_realtime_data_says(database: Database) -> None:
    kept = database.rows(f"select {HOURLY_SUMS} from realtime_hourly order by 1, 2")
    assert [tuple(row) for row in kept] == [tuple(row) for row in database.rows(RECOMPUTED)]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("realtime_data", ("location", "timestamp")),
        ("realtime_hourly", ("hour_start", "location")),
        ("latest_observations", ("location",)),
    ],
)
def test_rows_are_written_in_the_order_of_their_keys(
    database: Database, jakarta: City, table: str, key: tuple[str, ...]
) -> None:
    """Two daemons that write the same rows in different orders deadlock."""
    with transaction(database.owner) as connection:
        run_script(connection, NOTE_WHAT_IS_WRITTEN.format(table=table))
    log = MemoryLog(database)
    hours = [(place.name, number) for place in jakarta.locations for number in range(40)]
    random.Random(1).shuffle(hours)
    log.append(
        *(seen(0, place, aqi=number % 3 or None, hour=HOUR + timedelta(hours=number)) for place, number in hours)
    )
    assert log.consume() == 400
    columns = ", ".join(f"(row).{name}" for name in key)
    written = database.rows(f"select {columns} from written order by number")
    assert written == database.rows(f"select {', '.join(key)} from {table} order by {', '.join(key)}")


def test_realtime_hourly_equals_a_recomputation_after_every_commit(database: Database) -> None:
    log = MemoryLog(database)
    measures: list[dict[str, Any]] = [
        {"aqi": 10, "level": 1},
        {"speeds": (12.3456, 50.01)},
        {},
        {"aqi": 0},
        {"speeds": (300, 0.001)},
        {"speeds": (0, 0)},
        {"level": 5, "speeds": (70, 49)},
        {"aqi": 1000, "speeds": (49, 70)},
    ]
    for step, given in enumerate(measures * 3):
        place = ("Krukut", "Cinere")[step % 2]
        hour = (HOUR, NEXT_HOUR)[step % 3 % 2]
        log.append(seen(step % 7, place, hour=hour, **given))
        log.consume()
        assert_hourly_is_what_realtime_data_says(database)


def test_realtime_hourly_equals_a_recomputation_after_a_publish_and_late_events(database: Database) -> None:
    log = MemoryLog(database)
    log.append(seen(0, aqi=10), seen(6, aqi=20), seen(0, hour=NEXT_HOUR))
    log.consume()
    log.store()
    log.append(seen(12, aqi=5), seen(18, speeds=(20, 30)))
    log.consume()
    publish(database, HOUR)
    assert_hourly_is_what_realtime_data_says(database)
    log.append(seen(24, aqi=7), seen(0, aqi=99))
    log.consume()
    assert_hourly_is_what_realtime_data_says(database)
    assert served(database) == ("both", 5, 42, 4, 3, 1)


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


# ---------------------------------------------------------------- whatever is valid can be stored

EXTREMES: list[dict[str, Any]] = [
    {"aqi_value": 1000, "pollutants": {"": -1e6, "x" * 1000: 5e-324, '"\\\n': 1e6}},
    {"current_speed": 300.0, "free_flow_speed": 0.001},
    {"current_speed": 5e-324, "free_flow_speed": 300.0},
    {"current_speed": -0.0, "free_flow_speed": -0.0},
    {"latitude": 5e-324, "longitude": -180.0},
    {"dominant_pollutant": "\U0001f32b\u202e\x01\x7f\ufffe"},
    {"attributions": [{}, {"": ""}, {"名": "\U0001f32b"}]},
    {"aqi_value": 0, "aqi_measured_at": "0001-01-01T00:00:00Z"},
    {"aqi_value": 0, "aqi_measured_at": "9999-12-31T23:59:59.999999Z"},
    {"road_closure": True, "current_speed": 0.0, "free_flow_speed": 0.0},
]


@pytest.mark.parametrize("changes", EXTREMES, ids="+".join)
def test_extreme_but_valid_messages_reach_both_layers_and_serving(database: Database, changes: dict[str, Any]) -> None:
    log = MemoryLog(database)
    message = {"schema_version": 1, "timestamp": at(0).isoformat(), "location": "Krukut"}
    log.append(json.dumps(message | changes).encode())
    assert log.consume() == 1
    serving = ServingLayer(database.reader)
    assert len(serving.get_combined_heatmap_data()) == 10
    assert len(serving.get_raw_data(DAY, DAY_AFTER)) == 1
    assert log.store() == 1
    assert publish(database, HOUR) == [1]
    assert len(serving.get_hourly(DAY, DAY_AFTER)) == 1
    assert len(serving.get_raw_data(DAY, DAY_AFTER)) == 1


def test_fractions_of_seconds_are_kept(database: Database) -> None:
    log = MemoryLog(database)
    fraction = timedelta(microseconds=1)
    log.append(*(ObservationMessage(timestamp=at(0) + step * fraction, location="Krukut") for step in range(3)))
    assert log.consume() == 3
    assert database.scalar("select max(timestamp) from realtime_data") == at(0) + 2 * fraction
