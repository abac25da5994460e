"""The schedule: phases, what is due, what is missed, and a clock that jumps."""

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from lambda_pipeline.ingestion.schedule import Due, Schedule, aligned_slot, default_interval

NOW = datetime(2025, 3, 5, 1, 0, tzinfo=UTC)  # a whole multiple of six minutes
INTERVAL = timedelta(minutes=6)
ALL = 1_000_000


def seconds(polls: list[Due]) -> list[tuple[int, float]]:
    """(location, seconds after NOW) of each."""
    return [(poll.number, (poll.slot - NOW).total_seconds()) for poll in polls]


def at(offset: float) -> datetime:
    return NOW + timedelta(seconds=offset)


def test_locations_are_spread_over_the_interval_in_whole_seconds() -> None:
    schedule = Schedule(7, timedelta(seconds=10), NOW)
    polls, missed = schedule.take(at(9.999), ALL)
    assert seconds(polls)[-7:] == [(0, 0), (1, 1), (2, 2), (3, 4), (4, 5), (5, 7), (6, 8)]
    assert missed == 6  # the slots before the start's of those whose next one has come


def test_at_the_start_each_locations_current_slot_is_due_at_once() -> None:
    schedule = Schedule(4, INTERVAL, at(100))
    assert seconds(schedule.take(at(100), ALL)[0]) == [(2, -180), (3, -90), (0, 0), (1, 90)]
    assert schedule.next_slot() == at(180)
    assert schedule.take(at(179.999), ALL) == ([], 0)
    assert seconds(schedule.take(at(180), ALL)[0]) == [(2, 180)]


def test_over_days_every_location_gets_every_slot_once_and_in_order() -> None:
    schedule, now = Schedule(7, timedelta(seconds=97), NOW), NOW
    dice, taken = random.Random(1), []
    while now < at(20_000):
        polls, missed = schedule.take(now, dice.randint(2, 9))
        assert missed == 0
        taken += polls
        now += timedelta(seconds=dice.random() * 20)
    slots = [poll.slot for poll in taken]
    assert slots == sorted(slots)
    for number in range(7):
        own = [poll for poll in taken if poll.number == number]
        assert {(after.slot - before.slot).seconds for before, after in pairwise(own)} == {97}
        assert [poll.turn - own[0].turn for poll in own] == list(range(len(own)))


def test_slots_of_an_interval_are_the_same_whenever_it_starts() -> None:
    early, late = Schedule(5, INTERVAL, at(-1000)), Schedule(5, INTERVAL, at(77))
    early.take(at(77), ALL)
    late.take(at(77), ALL)
    assert early.take(at(400), ALL) == late.take(at(400), ALL)


def test_when_nobody_took_them_old_slots_are_missed_and_not_caught_up() -> None:
    schedule = Schedule(4, INTERVAL, NOW)
    schedule.take(NOW, ALL)
    polls, missed = schedule.take(at(360 * 10), ALL)
    assert seconds(polls) == [(1, 3330), (2, 3420), (3, 3510), (0, 3600)]
    assert missed == 36


def test_no_more_are_taken_than_asked_for_and_the_rest_stays_due() -> None:
    schedule = Schedule(4, INTERVAL, NOW)
    assert seconds(schedule.take(NOW, 3)[0]) == [(1, -270), (2, -180), (3, -90)]
    assert schedule.next_slot() == NOW
    assert seconds(schedule.take(NOW, 3)[0]) == [(0, 0)]
    assert schedule.take(at(360), 0) == ([], 0)
    assert schedule.take(at(450), 0) == ([], 1)  # the second location's came again


def test_of_long_intervals_only_slots_of_the_last_half_hour_are_due() -> None:
    schedule = Schedule(4, timedelta(hours=2), at(60))  # the phases 0, 30, 60 and 90 minutes from 00:00
    assert seconds(schedule.take(at(60), ALL)[0]) == [(2, 0)]
    polls, missed = schedule.take(at(1800 + 1799), ALL)
    assert (seconds(polls), missed) == ([(3, 1800)], 0)
    assert schedule.take(at(3600 + 1800), 0) == ([], 1)


def test_a_clock_set_back_polls_no_slot_twice() -> None:
    schedule = Schedule(4, INTERVAL, NOW)
    schedule.take(NOW, ALL)
    assert schedule.take(at(-290), ALL) == ([], 0)
    assert schedule.take(at(89), ALL) == ([], 0)
    assert seconds(schedule.take(at(90), ALL)[0]) == [(1, 90)]


def test_a_clock_that_had_stood_far_ahead_does_not_stop_the_polling() -> None:
    schedule = Schedule(4, INTERVAL, at(86_400))
    schedule.take(at(86_400), ALL)
    assert schedule.take(NOW, ALL) == ([], 0)
    assert seconds(schedule.take(at(90), ALL)[0]) == [(1, 90)]


def test_a_clock_set_forward_counts_what_it_skipped() -> None:
    schedule = Schedule(10, INTERVAL, NOW)
    schedule.take(NOW, ALL)
    polls, missed = schedule.take(at(86_400), ALL)
    assert (len(polls), missed) == (10, 2390)


def test_of_what_is_done_every_third_turn_each_interval_holds_a_third() -> None:
    schedule = Schedule(9, INTERVAL, NOW)
    for start in (0, 360, 720):
        polls, _ = schedule.take(at(start + 359), ALL)
        assert sum(poll.turn % 3 == 0 for poll in polls[-9:]) == 3


def test_with_an_interval_of_a_second_all_are_due_together() -> None:
    schedule = Schedule(3, timedelta(seconds=1), NOW)
    assert seconds(schedule.take(NOW, ALL)[0]) == [(0, 0), (1, 0), (2, 0)]
    assert schedule.next_slot() == at(1)


def test_without_locations_nothing_is_ever_due() -> None:
    schedule = Schedule(0, INTERVAL, NOW)
    assert schedule.take(at(1000), ALL) == ([], 0)
    assert schedule.next_slot() is None


def test_an_interval_is_a_positive_whole_number_of_seconds() -> None:
    for interval in (timedelta(0), timedelta(seconds=-60), timedelta(seconds=0.5)):
        with pytest.raises(ValueError, match="interval"):
            Schedule(1, interval, NOW)


@pytest.mark.parametrize(
    ("now", "minutes", "slot"),
    [
        ("2025-03-05T01:00:00+00:00", 6, "2025-03-05T01:00:00+00:00"),
        ("2025-03-05T01:05:59.999999+00:00", 6, "2025-03-05T01:00:00+00:00"),
        ("2025-03-05T08:06:00+07:00", 6, "2025-03-05T01:06:00+00:00"),
        ("1969-12-31T23:59:00+00:00", 6, "1969-12-31T23:54:00+00:00"),
    ],
)
def test_aligned_slot(now: str, minutes: int, slot: str) -> None:
    aligned = aligned_slot(datetime.fromisoformat(now), timedelta(minutes=minutes))
    assert aligned.isoformat() == slot


def test_aligned_slot_refuses_what_has_none() -> None:
    for interval in (timedelta(0), timedelta(seconds=-60), timedelta(seconds=0.5)):
        with pytest.raises(ValueError, match="interval"):
            aligned_slot(NOW, interval)
    with pytest.raises(ValueError, match="aware"):
        aligned_slot(NOW.replace(tzinfo=None), timedelta(minutes=1))


@pytest.mark.parametrize(
    ("locations", "minutes"), [(0, 1), (1, 1), (2, 2), (10, 6), (12, 7), (100, 58), (2500, 1440), (2501, 2880)]
)
def test_default_interval(locations: int, minutes: int) -> None:
    assert default_interval((locations, 2500)) == timedelta(minutes=minutes)


@pytest.mark.parametrize("locations", range(1, 2600, 37))
def test_the_default_interval_keeps_any_24_hours_within_the_quota(locations: int) -> None:
    interval = default_interval((locations, 2500))
    most = -(timedelta(days=1) // -interval)
    assert most * locations <= 2500 or interval >= timedelta(days=2)


def test_a_quota_is_positive() -> None:
    with pytest.raises(ValueError, match="quota"):
        default_interval((10, 0))


def test_the_default_interval_suits_the_source_with_the_least() -> None:
    assert default_interval((10, 2500), (10, None)) == timedelta(minutes=6)
    assert default_interval((10, 2500), (10, 1000)) == timedelta(minutes=15)
    assert default_interval((10_000, None)) == default_interval() == timedelta(minutes=1)
