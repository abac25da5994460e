"""What becomes of single rows of the first system: bad ones, repeated ones, ones that contradict each other."""

import math
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from lambda_pipeline.domain.catalogue import City, Location
from lambda_pipeline.domain.observation import InvalidObservationError, ObservationMessage, Validator
from lambda_pipeline_tests.integration.old_databases import create_old, fates, insert, lost, run, taken, upgraded
from lambda_pipeline_tests.servers import HISTORY_START, Database

pytestmark = pytest.mark.integration

KEY: dict[str, Any] = {"timestamp": "2025-03-03T20:00Z", "location": "Cinere"}
FUTURE = datetime.now(UTC) + timedelta(days=2)


def observations(database: Database, columns: str) -> list[tuple[object, ...]]:
    """Columns of raw_data, oldest first."""
    return [tuple(row) for row in database.rows(f"select {columns} from raw_data order by timestamp, location")]


# ---------------------------------------------------------------- rows that break a rule


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"timestamp": None}, "no timestamp"),
        ({"location": None}, "no location"),
        ({"location": ""}, "no location"),
        ({"location": " \t "}, "no location"),
        ({"location": "x" * 201}, "location of more than 200 characters"),
        ({"timestamp": "1970-01-01T00:00Z"}, "timestamp before 2000-01-01"),
        ({"timestamp": "0044-03-15T00:00Z BC"}, "timestamp before 2000-01-01"),
        ({"timestamp": "-infinity"}, "timestamp before 2000-01-01"),
        ({"timestamp": "infinity"}, "timestamp from the future"),
        ({"timestamp": "294276-12-31T00:00Z"}, "timestamp from the future"),
        ({"timestamp": FUTURE}, "timestamp from the future"),
    ],
)
def test_a_row_without_a_place_is_kept_whole_with_the_reason(
    old: Database, jakarta: City, changes: dict[str, Any], reason: str
) -> None:
    create_old(old, ["raw_data"], "alter table raw_data alter timestamp drop not null")
    insert(old, "raw_data", {**KEY, "aqi_value": 5}, {**KEY, "aqi_value": 7, **changes})
    assert fates(taken(old, jakarta)) == {"raw_data": (2, 1, 0, 0, 1, 0)}
    found = old.rows("select old_id, reason, is_stored, old_row ->> 'aqi_value' as aqi from raw_data_rejects")
    assert [tuple(row) for row in found] == [(2, reason, False, "7")]
    assert observations(old, "aqi_value") == [(5,)]


@pytest.mark.parametrize(
    ("table", "values", "stored", "reason"),
    [
        ("raw_data", {"aqi_value": -1, "traffic_level": 3}, (None, 3, None, None), "aqi_value -1"),
        ("raw_data", {"aqi_value": 9999, "traffic_level": 0}, (None,) * 4, "aqi_value 9999, traffic_level 0"),
        ("raw_data", {"aqi_value": 1001}, (None,) * 4, "aqi_value 1001"),
        ("raw_data", {"aqi_value": 40, "traffic_level": 9}, (40, None, None, None), "traffic_level 9"),
        ("realtime_data", {"aqi_value": 40, "traffic_level": -1}, (40, None, None, None), "traffic_level -1"),
        (
            "traffic_data",
            {"traffic_level": 9, "current_speed": 20, "free_flow_speed": 50},
            (None, 4, 20.0, 50.0),  # the level comes from the speeds
            "traffic_level 9",
        ),
        (
            "traffic_data",
            {"traffic_level": 2, "current_speed": -3, "free_flow_speed": 300.5},
            (None, 2, None, None),
            "current_speed -3, free_flow_speed 300.5",
        ),
        (
            "traffic_data",
            {"current_speed": "NaN", "free_flow_speed": 0.0001},
            (None,) * 4,
            "current_speed NaN, free_flow_speed 0.0001",
        ),
        ("traffic_data", {"current_speed": "1e400", "free_flow_speed": 6}, (None, None, None, 6.0), "current_speed 1"),
        ("aqi_data", {"aqi_value": 2_000_000_000}, (None,) * 4, "aqi_value 2000000000"),
    ],
)  # fmt: skip
def test_a_measure_out_of_range_is_missing_and_the_rest_of_its_row_is_not(
    old: Database, jakarta: City, table: str, values: dict[str, Any], stored: tuple[object, ...], reason: str
) -> None:
    create_old(old, [table])
    insert(old, table, {**KEY, **values})
    assert fates(taken(old, jakarta)) == {table: (1, 1, 0, 0, 0, 1)}
    assert observations(old, "aqi_value, traffic_level, current_speed, free_flow_speed") == [stored]
    found = old.rows("select old_table, old_id, reason, is_stored from raw_data_rejects")
    assert [(row.old_table, row.old_id, row.is_stored) for row in found] == [(table, 1, True)]
    assert found[0].reason.startswith(f"out of range: {reason}")


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(95, 106.8), (-6.2, None), (None, 106.8), ("NaN", 106.8), (-6.2, 181), ("1e400", 1)]
)
def test_coordinates_that_are_no_place_are_missing(
    old: Database, jakarta: City, latitude: object, longitude: object
) -> None:
    create_old(old, ["raw_data"])
    insert(old, "raw_data", {**KEY, "location": "New", "latitude": latitude, "longitude": longitude, "aqi_value": 5})
    assert fates(taken(old, jakarta)) == {"raw_data": (1, 1, 0, 0, 0, 1)}
    assert observations(old, "latitude, longitude, aqi_value") == [(None, None, 5)]
    assert old.scalar("select num_nulls(latitude, longitude) from locations where name = 'New'") == 2


def test_a_row_of_nothing_but_its_key_is_found_again(old: Database, jakarta: City) -> None:
    create_old(old, ["raw_data"])
    insert(old, "raw_data", KEY)
    assert fates(taken(old, jakarta)) == {"raw_data": (1, 1, 0, 0, 0, 0)}
    assert observations(old, "aqi_value, aqi_category, traffic_level") == [(None, "Unknown", None)]


# ---------------------------------------------------------------- several rows of a key


def test_of_a_key_the_lowest_id_stays_and_the_others_are_kept_whole(old: Database, jakarta: City) -> None:
    create_old(old, ["raw_data"])
    insert(old, "raw_data", *({**KEY, "id": number, "aqi_value": number} for number in (30, 10, 20)))
    insert(old, "raw_data", {**KEY, "id": 40, "aqi_value": 10}, {**KEY, "id": 50, "timestamp": FUTURE})
    assert fates(taken(old, jakarta)) == {"raw_data": (5, 1, 0, 3, 1, 0)}
    assert observations(old, "aqi_value") == [(10,)]
    found = old.rows("select old_id, (old_row ->> 'aqi_value')::int, reason from raw_data_duplicates order by 1")
    reason = "an earlier row of the table has this location and timestamp"
    assert [tuple(row) for row in found] == [(20, 20, reason), (30, 30, reason), (40, 10, reason)]


def test_ids_that_are_missing_or_repeated_lose_no_row(old: Database, jakarta: City) -> None:
    create_old(old, ["raw_data"], "alter table raw_data drop constraint raw_data_pkey, alter id drop not null")
    insert(old, "raw_data", *({**KEY, "id": number, "aqi_value": 7} for number in (None, None, 1, 1)))
    report = upgraded(old, jakarta).taken
    assert report is not None
    assert fates(report) == {"raw_data": (4, 1, 0, 3, 0, 0)}
    assert old.scalar("select count(*) from raw_data_duplicates") == 3


def test_fractions_of_a_second_and_capitals_and_spaces_make_other_keys(old: Database, jakarta: City) -> None:
    create_old(old, ["raw_data"])
    stamps = ("2025-03-03T20:00:00Z", "2025-03-03T20:00:00.000001Z", "2025-03-03T20:00:00.5Z")
    names = ("Cinere", "cinere", " Cinere", "Cinere ")
    insert(old, "raw_data", *({"timestamp": stamp, "location": name} for stamp in stamps for name in names))
    assert fates(taken(old, jakarta)) == {"raw_data": (12, 12, 0, 0, 0, 0)}


def test_a_third_table_is_compared_with_what_stays_and_not_with_what_was_set_aside(
    old: Database, jakarta: City
) -> None:
    create_old(old, ["raw_data", "realtime_data", "traffic_data", "aqi_data"])
    insert(old, "raw_data", {**KEY, "aqi_value": 10})
    insert(old, "realtime_data", {**KEY, "aqi_value": 20, "traffic_level": 3})
    insert(old, "traffic_data", {**KEY, "traffic_level": 4, "current_speed": 30})
    insert(old, "aqi_data", {**KEY, "aqi_value": 20})
    assert fates(taken(old, jakarta)) == {
        "raw_data": (1, 1, 0, 0, 0, 0),
        "realtime_data": (1, 0, 0, 1, 0, 0),
        "traffic_data": (1, 0, 1, 0, 0, 0),
        "aqi_data": (1, 0, 0, 1, 0, 0),
    }
    assert observations(old, "aqi_value, traffic_level, current_speed") == [(10, 4, 30.0)]


def test_what_both_layers_of_master_hold_counts_once_unless_they_disagree(old: Database, jakarta: City) -> None:
    create_old(old, ["raw_data", "realtime_data"])
    rows = [{**KEY, "location": name} for name in ("same", "filled", "otherwise", "only live")]
    for row, raw in zip(rows, ({"aqi_value": 5, "traffic_level": 1}, {"aqi_value": 5}, {"aqi_value": 5}), strict=False):
        insert(old, "raw_data", {**row, **raw})
    for row, aqi in zip(rows, (5, 5, 6, 7), strict=True):
        insert(old, "realtime_data", {**row, "aqi_value": aqi, "traffic_level": 1})
    assert fates(taken(old, jakarta)) == {"raw_data": (3, 3, 0, 0, 0, 0), "realtime_data": (4, 1, 2, 1, 0, 0)}
    assert observations(old, "location, aqi_value, traffic_level, source") == [
        ("filled", 5, 1, "legacy:raw_data+realtime_data"), ("only live", 7, 1, "legacy:realtime_data"),
        ("otherwise", 5, None, "legacy:raw_data"), ("same", 5, 1, "legacy:raw_data+realtime_data"),
    ]  # fmt: skip
    reason = old.scalar("select reason from raw_data_duplicates")
    assert reason == "another table has other values for this location and timestamp"


def test_repeated_halves_of_v2_join_once(old: Database, jakarta: City) -> None:
    create_old(old, ["traffic_data", "aqi_data"])
    insert(old, "traffic_data", {**KEY, "traffic_level": 2}, {**KEY, "traffic_level": 3})
    insert(old, "aqi_data", {**KEY, "aqi_value": 20}, {**KEY, "aqi_value": 20}, {**KEY, "aqi_value": 30})
    assert fates(taken(old, jakarta)) == {"traffic_data": (2, 1, 0, 1, 0, 0), "aqi_data": (3, 0, 1, 2, 0, 0)}
    assert observations(old, "aqi_value, traffic_level") == [(20, 2)]


# ---------------------------------------------------------------- derived values

LEVELS = [
    (3, 55, 60, 3),  # the level that was observed stays, whatever the speeds say
    (None, 55, 60, 1),
    (None, 54, 60, 2),
    (None, 42, 60, 3),
    (None, 30, 60, 4),
    (None, 18, 60, 5),
    (None, 70, 60, 1),
    (None, 30, 0, None),
    (None, 30, None, None),
    (None, None, 60, None),
]


@pytest.mark.parametrize(("level", "speed", "free_flow", "expected"), LEVELS)
def test_the_level_is_the_stored_one_or_follows_from_the_speeds(
    old: Database, jakarta: City, level: int | None, speed: float | None, free_flow: float | None, expected: int | None
) -> None:
    create_old(old, ["traffic_data"])
    insert(old, "traffic_data", {**KEY, "traffic_level": level, "current_speed": speed, "free_flow_speed": free_flow})
    taken(old, jakarta)
    assert observations(old, "traffic_level") == [(expected,)]


def test_what_sql_makes_of_random_rows_is_what_the_validator_makes_of_them(old: Database, jakarta: City) -> None:
    dice = random.Random(7)
    create_old(old, ["traffic_data", "aqi_data"])
    names = [*(place.name for place in jakarta.locations), "Somewhere"]
    rows = []
    for number in range(1500):
        at = datetime(2024, 12, 31, 17, tzinfo=UTC) + timedelta(
            seconds=dice.randrange(400 * 86_400), microseconds=number
        )
        road = {
            "traffic_level": dice.choice([None, 1, 2, 3, 4, 5, 0, 6]),
            "current_speed": dice.choice([None, round(dice.uniform(-5, 120), 3), 300, 301]),
            "free_flow_speed": dice.choice([None, 0, 0.001, 0.0005, round(dice.uniform(20, 120), 2)]),
        }
        rows.append(({"timestamp": at, "location": dice.choice(names), "latitude": 1, "longitude": 2}, road,
                     dice.choice([None, dice.randint(-2, 520), 1000, 1001])))  # fmt: skip
    insert(old, "traffic_data", *({**place, **road} for place, road, _ in rows))
    insert(old, "aqi_data", *({**place, "aqi_value": aqi} for place, _, aqi in rows))
    taken(old, jakarta)
    clock = jakarta.clock()
    places = {place.name: place for place in jakarta.locations} | {"Somewhere": Location("Somewhere", None, 1.0, 2.0)}
    validator = Validator(places, clock, clock.day_start(HISTORY_START))
    ranges = {"traffic_level": (1, 5), "current_speed": (0, 300), "aqi_value": (0, 1000)}
    expected = []
    for place, road, aqi in sorted(rows, key=lambda row: row[0]["timestamp"]):
        measures = {**road, "aqi_value": aqi}
        for name, (least, most) in ranges.items():
            if measures[name] is not None and not least <= measures[name] <= most:
                measures[name] = None
        message = ObservationMessage(schema_version=1, **place, **measures)
        try:
            expected.append(validator.validate(message, datetime.now(UTC)))
        except InvalidObservationError:  # of the free flow alone
            measures["free_flow_speed"] = None
            message = ObservationMessage(schema_version=1, **place, **measures)
            expected.append(validator.validate(message, datetime.now(UTC)))
    columns = ", ".join(expected[0]._fields)
    for found, wanted in zip(observations(old, columns), expected, strict=True):
        for name, one, other in zip(wanted._fields, found, wanted, strict=True):
            both = isinstance(one, float) and isinstance(other, float)
            assert one == other or (both and math.isclose(one, other, abs_tol=1.01e-9)), (name, found, wanted)


def test_when_a_row_was_stored_first_is_kept(old: Database, jakarta: City) -> None:
    create_old(old, ["raw_data", "realtime_data"])
    insert(old, "raw_data", {**KEY, "created_at": "2025-03-03T20:00:07Z"}, {**KEY, "location": "x", "created_at": None},
           {**KEY, "location": "y", "created_at": "infinity"})  # fmt: skip
    taken(old, jakarta)
    found = old.rows("select created_at from raw_data where location = 'Cinere'")
    assert found[0].created_at == datetime(2025, 3, 3, 20, 0, 7, tzinfo=UTC)
    assert old.scalar("select min(created_at) > now() - interval '1 hour' from raw_data where location <> 'Cinere'")


# ---------------------------------------------------------------- the city


def test_unknown_locations_are_registered_with_their_newest_coordinates(old: Database, jakarta: City) -> None:
    create_old(old, ["raw_data"])
    odd = ['O\'Hara "Pasar; Minggu"', "Täman 🌳 %s :name", "\\N", "null"]
    insert(
        old, "raw_data",
        *({**KEY, "location": name, "latitude": 1, "longitude": 2} for name in odd),
        {"timestamp": "2025-03-04T20:00Z", "location": "null", "latitude": 3, "longitude": 4},
        {"timestamp": "2025-03-05T20:00Z", "location": "null"},
        {**KEY, "latitude": 5, "longitude": 6},
    )  # fmt: skip
    report = taken(old, jakarta)
    assert report.locations == sorted(odd)
    found = old.rows("select name, latitude, longitude from locations where origin = 'import'")
    assert {tuple(row) for row in found} == {*((name, 1.0, 2.0) for name in odd[:3]), ("null", 3.0, 4.0)}
    assert old.rows("select distinct latitude from raw_data where location = 'Cinere'") == [(-6.3498,)]
    assert lost(old, "raw_data", "aqi_value", "traffic_level") == []


@pytest.mark.parametrize(
    ("stamp", "start"),
    [
        ("2024-12-31T16:59:59.999999Z", date(2024, 12, 31)),
        ("2024-12-31T17:00:00Z", HISTORY_START),
        ("2023-06-30T17:00:00Z", date(2023, 7, 1)),
        ("2000-01-01T00:00:00Z", date(2000, 1, 1)),
    ],
)
def test_history_begins_with_the_oldest_row(old: Database, jakarta: City, stamp: str, start: date) -> None:
    create_old(old, ["raw_data"])
    insert(old, "raw_data", KEY, {**KEY, "timestamp": stamp})
    report = taken(old, jakarta)
    assert report.first == start
    assert report.last == date(2025, 3, 4)
    assert old.scalar("select history_start from deployment") == start


def test_the_latest_observations_are_the_newest_rows(old: Database, jakarta: City) -> None:
    create_old(old, ["raw_data"])
    for hour, measures in enumerate(({"aqi_value": 20}, {"traffic_level": 3}, {"aqi_value": 9999}, {})):
        insert(old, "raw_data", {**KEY, "timestamp": f"2025-03-03T2{hour}:00Z", **measures})
    taken(old, jakarta)
    found = old.rows(
        "select extract(hour from observed_at)::int, aqi_value, extract(hour from aqi_observed_at)::int, "
        "traffic_level, extract(hour from traffic_observed_at)::int from current_conditions where location = 'Cinere'"
    )
    assert [tuple(row) for row in found] == [(23, 20, 20, 3, 21)]


def test_numbers_of_other_types_are_read_as_numbers(old: Database, jakarta: City) -> None:
    run(
        old,
        "create table raw_data (id bigint, timestamp timestamp, location text, latitude double precision, "
        "longitude real, aqi_value double precision, traffic_level numeric)",
    )
    row = {"timestamp": "2025-03-03 20:00", "latitude": 0.1, "longitude": 0.5}
    insert(old, "raw_data", {**row, "id": 1, "location": "a", "aqi_value": 55, "traffic_level": "2.0"},
           {**row, "id": 2, "location": "b", "aqi_value": 55.5, "traffic_level": "2.5"})  # fmt: skip
    assert fates(taken(old, jakarta)) == {"raw_data": (2, 2, 0, 0, 0, 1)}
    assert observations(old, "aqi_value, traffic_level, latitude") == [(55, 2, 0.1), (None, None, 0.1)]
    assert old.scalar("select reason from raw_data_rejects") == "out of range: aqi_value 55.5, traffic_level 2.5"
