"""The speed layer's hourly sums are those of its rows, after whatever commit and publish."""

import json
import random
from datetime import timedelta
from typing import Any

import pytest

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline_tests.integration.observations import (
    DAY,
    DAY_AFTER,
    HOUR,
    NEXT_HOUR,
    MemoryLog,
    at,
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
