"""The model city: the same for everybody who asks, and plausible to somebody who commutes in Jakarta."""

import itertools
import random
import statistics
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from lambda_pipeline.domain.catalogue import City, Location, load_city
from lambda_pipeline.domain.observation import ObservationMessage, Validator, decode, encode
from lambda_pipeline.local.simulated_city import SimulatedCity

JAKARTA = load_city(Path(__file__).parents[2] / "cities" / "jakarta.toml")
MONDAY = datetime(2025, 3, 2, 17, tzinfo=UTC)  # 3 March 2025, 00:00 in Jakarta
WEEKS = 2
STEP = timedelta(minutes=12)


@pytest.fixture(scope="module")
def city() -> SimulatedCity:
    return SimulatedCity(JAKARTA, 42)


@pytest.fixture(scope="module")
def history(city: SimulatedCity) -> list[ObservationMessage]:
    return list(city.history(MONDAY, MONDAY + timedelta(weeks=WEEKS), STEP))


def ratio(message: ObservationMessage) -> float | None:
    if message.current_speed is None or not message.free_flow_speed or message.road_closure:
        return None
    return 1 - message.current_speed / message.free_flow_speed


def aqi(message: ObservationMessage) -> float | None:
    return message.aqi_value


Profile = dict[tuple[bool, int], float]


def profile(history: list[ObservationMessage], measure: Callable[[ObservationMessage], float | None]) -> Profile:
    """Mean by (weekend, half hour of the day in Jakarta)."""
    values = defaultdict(list)
    for message in history:
        local = message.timestamp + timedelta(hours=7)
        if (value := measure(message)) is not None:
            values[local.weekday() >= 5, local.hour * 2 + local.minute // 30].append(value)
    return {key: statistics.mean(found) for key, found in values.items()}


def test_rush_hours_are_where_a_commuter_expects_them(history: list[ObservationMessage]) -> None:
    by = profile(history, ratio)
    morning = max(range(8, 24), key=lambda half: by[False, half])
    evening = max(range(28, 44), key=lambda half: by[False, half])
    assert morning in (14, 15)  # 07:00 to 08:00
    assert evening in (34, 35, 36)  # 17:00 to 18:30
    assert by[False, 16] > 0.4  # 08:00
    assert by[False, 6] < 0.1  # 03:00
    assert by[False, 24] < 0.5 * by[False, morning]  # noon
    assert by[False, 24] > by[False, 6] + 0.1


def test_weekends_are_milder_and_later(history: list[ObservationMessage]) -> None:
    by = profile(history, ratio)
    weekday = [by[False, half] for half in range(48)]
    weekend = [by[True, half] for half in range(48)]
    assert max(weekend) < 0.6 * max(weekday)
    assert statistics.mean(weekend) < 0.7 * statistics.mean(weekday)
    assert weekend.index(max(weekend)) >= 22  # not before 11:00
    assert weekend[15] < 0.3 * weekday[15]


def test_levels_use_the_whole_scale_and_nights_are_free(history: list[ObservationMessage]) -> None:
    levels = {message.traffic_level for message in history}
    assert levels == {1, 2, 3, 4, 5, None}
    night = [
        message.traffic_level
        for message in history
        if (message.timestamp + timedelta(hours=7)).hour in (1, 2, 3)
        and message.traffic_level
        and not message.road_closure
    ]
    assert max(night) <= 2
    assert statistics.mean(night) < 1.1


def test_the_air_follows_the_traffic_by_one_to_two_hours(city: SimulatedCity) -> None:
    instants = [MONDAY + timedelta(minutes=15 * step) for step in range(4 * 24 * 7)]
    for location in JAKARTA.locations:
        best = max(range(-60, 241, 30), key=lambda lag: correlation(city, location, instants, lag))
        assert 60 <= best <= 150, location.name
        assert correlation(city, location, instants, best) > 0.6, location.name


def correlation(city: SimulatedCity, location: Location, instants: list[datetime], lag: int) -> float:
    """Of the congestion with the AQI `lag` minutes later."""
    pairs = []
    for instant in instants:
        flow, air = city.flow(location, instant), city.air(location, instant + timedelta(minutes=lag))
        if flow is not None and air is not None and air.aqi is not None and not flow.road_closure:
            pairs.append((1 - flow.current_speed / flow.free_flow_speed, air.aqi))
    return statistics.correlation(*zip(*pairs, strict=True))


def test_the_air_is_worse_before_dawn_than_late_in_the_evening_of_a_weekend(
    history: list[ObservationMessage],
) -> None:
    by = profile(history, aqi)
    assert by[True, 9] > by[True, 1]  # the inversion: 04:30 against 00:30
    assert by[True, 9] > by[True, 15]


def test_the_aqi_is_jakartas(history: list[ObservationMessage]) -> None:
    values = [message.aqi_value for message in history if message.aqi_value is not None]
    assert 75 < statistics.mean(values) < 130
    assert min(values) > 30
    assert max(values) < 300


def test_every_location_has_its_own_character(history: list[ObservationMessage]) -> None:
    speeds: dict[str, set[float]] = defaultdict(set)
    means = defaultdict(list)
    for message in history:
        if message.free_flow_speed is not None:
            speeds[message.location].add(message.free_flow_speed)
        if message.aqi_value is not None:
            means[message.location].append(message.aqi_value)
    assert all(len(found) == 1 for found in speeds.values())
    assert len(set.union(*speeds.values())) >= 4
    assert len(speeds) == len(JAKARTA.locations)
    average = [statistics.mean(found) for found in means.values()]
    assert max(average) - min(average) > 10


def test_completeness_is_high_but_not_whole(history: list[ObservationMessage]) -> None:
    expected = len(JAKARTA.locations) * WEEKS * 7 * 120
    assert 0.99 < len(history) / expected < 1
    assert 0.001 < sum(message.current_speed is None for message in history) / expected < 0.02
    assert 0.005 < sum(message.aqi_value is None for message in history) / expected < 0.08


def test_history_is_in_time_order_half_open_and_valid(history: list[ObservationMessage]) -> None:
    keys = [(message.timestamp, message.location) for message in history]
    assert [key[0] for key in keys] == sorted(key[0] for key in keys)
    assert len(set(keys)) == len(keys)
    assert keys[0][0] == MONDAY
    assert keys[-1][0] == MONDAY + timedelta(weeks=WEEKS) - STEP
    locations = {location.name: location for location in JAKARTA.locations}
    validator = Validator(locations, JAKARTA.clock(), MONDAY)
    for message in history[:: len(history) // 500]:
        assert decode(encode(message)) == message
        assert message.schema_version == 1
        assert validator.validate(message, message.timestamp).traffic_level == message.traffic_level


def test_a_reading_that_is_too_old_is_missing_and_its_limit_is_the_callers(city: SimulatedCity) -> None:
    end = MONDAY + timedelta(weeks=2)
    stale = [
        m
        for m in city.history(MONDAY, end, STEP)
        if m.aqi_measured_at and m.timestamp - m.aqi_measured_at > timedelta(hours=2)
    ]
    assert stale
    strict = city.history(MONDAY, end, STEP, stale_after=timedelta(hours=2))
    assert all(m.aqi_measured_at is None or m.timestamp - m.aqi_measured_at <= timedelta(hours=2) for m in strict)


def test_the_same_seed_gives_the_same_city_in_any_order_and_zone(city: SimulatedCity) -> None:
    asked = [
        (location, MONDAY + timedelta(minutes=minutes))
        for location, minutes in itertools.product(JAKARTA.locations, range(0, 3000, 7))
    ]
    expected = {(place.name, at): (city.flow(place, at), city.air(place, at)) for place, at in asked}
    random.Random(1).shuffle(asked)
    other = SimulatedCity(JAKARTA, 42)
    zone = timezone(timedelta(hours=-9, minutes=-30))
    for place, at in asked:
        elsewhere = at.astimezone(zone)
        assert (other.flow(place, elsewhere), other.air(place, elsewhere)) == expected[place.name, at]


def test_what_a_location_does_does_not_depend_on_its_neighbours(city: SimulatedCity) -> None:
    alone = SimulatedCity(City("Jakarta", "Asia/Jakarta", locations=JAKARTA.locations[3:4]), 42)
    place = JAKARTA.locations[3]
    for minutes in range(0, 3000, 13):
        at = MONDAY + timedelta(minutes=minutes)
        assert alone.observation(place, at) == city.observation(place, at)


def test_another_seed_is_another_city(city: SimulatedCity) -> None:
    other = SimulatedCity(JAKARTA, 43)
    at = MONDAY + timedelta(hours=8)
    assert [city.flow(place, at) for place in JAKARTA.locations] != [
        other.flow(place, at) for place in JAKARTA.locations
    ]


def test_a_location_has_only_the_halves_that_it_is_polled_for(city: SimulatedCity) -> None:
    at = MONDAY + timedelta(hours=8)
    assert city.air(Location("Road", None, 1.0, 2.0), at) is None
    assert city.flow(Location("Station", "A1"), at) is None
    assert city.observation(Location("Neither"), at) is None


def test_rush_hours_are_in_the_citys_own_time() -> None:
    """Los Angeles, across the night in March when its clocks go forward."""
    place = Location("I-405", None, 34.0, -118.4)
    model = SimulatedCity(City("Los Angeles", "America/Los_Angeles", locations=(place,)), 7)
    for day, utc_hour in ((3, 15), (10, 14)):  # Mondays: 07:30 is 15:30 UTC, then 14:30 UTC
        hours = [datetime(2025, 3, day, hour, 30, tzinfo=UTC) for hour in range(10, 20)]
        slowest = min(hours, key=lambda at: flow.current_speed if (flow := model.flow(place, at)) else 1e9)
        assert abs(slowest.hour - utc_hour) <= 1


@pytest.mark.parametrize(
    ("start", "step"),
    [(MONDAY.replace(tzinfo=None), timedelta(minutes=6)), (MONDAY, timedelta(0)), (MONDAY, timedelta(minutes=-1))],
)
def test_history_refuses_naive_times_and_steps_that_lead_nowhere(
    city: SimulatedCity, start: datetime, step: timedelta
) -> None:
    with pytest.raises(ValueError, match="history"):
        next(city.history(start, MONDAY + timedelta(hours=1), step))
