"""What the speed commit makes of the latest observations: per measure the newest wins."""

from typing import Any

import pytest

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.storage.deployment import register_locations
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.integration.observations import (
    MemoryLog,
    at,
    seen,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


def latest(database: Database, columns: str, location: str = "Krukut") -> tuple[object, ...]:
    rows = database.rows(f"select {columns} from latest_observations where location = :location", location=location)
    return tuple(rows[0])


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
