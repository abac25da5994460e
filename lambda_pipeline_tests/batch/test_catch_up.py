"""Which stale days are recomputed now: settling, grouping, backing off, starting anew. Without a database."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_pipeline.batch.catch_up import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PATIENCE,
    RUNS_A_TICK,
    SETTLE,
    Attempted,
    Plan,
    StaleDay,
    plan,
)

NOW = datetime(2025, 6, 10, 12, tzinfo=UTC)
DAY = date(2025, 6, 2)
TICK = timedelta(seconds=30)


def stale(*offsets: int, positions: str = "p") -> list[StaleDay]:
    """Stale days, by their distance from DAY."""
    return [StaleDay(DAY + timedelta(days=offset), 3, positions) for offset in offsets]


class Sensor:
    """The plan's memory from tick to tick, as the sensor and its table keep it."""

    def __init__(self) -> None:
        self.now = NOW
        self.known: dict[date, Attempted] = {}
        self.running: set[date] = set()
        self.succeeded: set[str] = set()

    def tick(self, days: list[StaleDay], after: timedelta = TICK) -> Plan:
        """A tick some time after the last one."""
        self.now += after
        found = plan(days, self.known, self.running, self.succeeded, self.now)
        self.known = {one.stale.day: one for one in found.days}
        return found

    def settled(self, days: list[StaleDay]) -> Plan:
        """The first tick at which days that were just seen are due."""
        assert not self.tick(days).requests
        return self.tick(days, SETTLE)


def spans(found: Plan) -> list[tuple[int, int]]:
    """The requested ranges, by their distance from DAY."""
    return [((one.first - DAY).days, (one.until - DAY).days) for one in found.requests]


def test_nothing_stale_asks_for_nothing_and_says_so() -> None:
    found = Sensor().tick([])
    assert (found.requests, found.days, found.reason) == ((), (), "nothing is stale")


def test_a_day_waits_until_it_settles() -> None:
    sensor = Sensor()
    assert not sensor.tick(stale(0)).requests
    for number in range(4):  # late events keep coming
        found = sensor.tick(stale(0, positions=str(number)))
        assert not found.requests
        assert "2025-06-02 may still change" in found.reason
    assert spans(sensor.tick(stale(0, positions="3"), SETTLE)) == [(0, 1)]


def test_what_never_settles_is_not_waited_for_for_ever() -> None:
    sensor = Sensor()
    ticks = 0
    while not sensor.tick(stale(0, positions=str(ticks))).requests:
        ticks += 1
    assert ticks * TICK == PATIENCE


def test_contiguous_days_are_one_run_and_others_another() -> None:
    assert spans(Sensor().settled(stale(0, 1, 2, 5, 7, 8))) == [(0, 3), (5, 6), (7, 9)]


def test_a_few_runs_a_tick_and_the_others_at_the_next() -> None:
    sensor = Sensor()
    days = stale(*range(0, 20, 2))
    found = sensor.settled(days)
    assert len(found.requests) == RUNS_A_TICK
    assert "2025-06-08 waits for its turn" in found.reason
    sensor.running = {one.first for one in found.requests}
    assert spans(sensor.tick(days)) == [(6, 7), (8, 9), (10, 11)]


def test_a_day_that_a_run_works_on_waits() -> None:
    sensor = Sensor()
    sensor.running = {DAY + timedelta(days=1)}
    found = sensor.settled(stale(0, 1, 2))
    assert spans(found) == [(0, 1), (2, 3)]
    assert "2025-06-03 is being recomputed" in found.reason


def test_what_fails_is_tried_ever_less_often_and_never_given_up() -> None:
    sensor = Sensor()
    sensor.settled(stale(0))
    pauses = []
    for _ in range(12):
        asked_at = sensor.now
        for _tick in range(2000):
            if sensor.tick(stale(0)).requests:
                break
        pauses.append(sensor.now - asked_at)
    assert pauses[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert sensor.known[DAY].attempts == 13


def test_late_events_do_not_shorten_the_pause_after_a_failure() -> None:
    sensor = Sensor()
    sensor.settled(stale(0))
    for number in range(9):
        assert not sensor.tick(stale(0, positions=str(number))).requests
    assert sensor.known[DAY].attempts == 1


def test_a_day_that_is_stale_again_after_a_success_starts_anew() -> None:
    sensor = Sensor()
    (request,) = sensor.settled(stale(0)).requests
    sensor.succeeded = {request.key}
    sensor.tick(stale(0, positions="late"))
    assert sensor.known[DAY].attempts == 0
    (again,) = sensor.tick(stale(0, positions="late"), SETTLE).requests
    assert again.key != request.key


def test_a_run_that_ended_well_and_did_not_help_counts_as_an_attempt() -> None:
    sensor = Sensor()
    (request,) = sensor.settled(stale(0)).requests
    sensor.succeeded = {request.key}
    assert not sensor.tick(stale(0)).requests
    assert sensor.known[DAY].attempts == 1


def test_a_day_that_became_fresh_is_forgotten_and_its_next_run_has_another_key() -> None:
    sensor = Sensor()
    (request,) = sensor.settled(stale(0)).requests
    sensor.tick([])
    assert not sensor.known
    (again,) = sensor.settled(stale(0)).requests
    assert again.key != request.key


def test_a_day_that_fails_is_singled_out() -> None:
    sensor = Sensor()
    days = stale(*range(40))
    sizes = [len(range(*span)) for span in spans(sensor.settled(days))]
    while max(sizes) > 1:
        found = sensor.tick(days, LONGEST_PAUSE)
        assert found.requests
        sizes = [len(range(*span)) for span in spans(found)]
        tried = max(one.attempts for one in sensor.known.values())
        assert tried <= 5
    assert sizes == [1, 1, 1]


def test_days_that_were_tried_differently_often_are_not_one_run() -> None:
    sensor = Sensor()
    sensor.settled(stale(0))
    sensor.tick(stale(0, 1))
    found = sensor.tick(stale(0, 1), LONGEST_PAUSE)
    assert spans(found) == [(0, 1), (1, 2)]


def test_keys_change_with_positions_and_with_attempts() -> None:
    keys = set()
    for positions in ("a", "b"):
        sensor = Sensor()
        keys.add(sensor.settled(stale(0, positions=positions)).requests[0].key)
        keys.add(sensor.tick(stale(0, positions=positions), LONGEST_PAUSE).requests[0].key)
    assert len(keys) == 4


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6), st.integers(0, 400)), unique_by=lambda one: one[0]),
    st.sets(st.integers(0, 30)),
)
def test_each_day_is_requested_at_most_once_and_only_when_due(
    days: list[tuple[int, int, int]], running: set[int]
) -> None:
    known = {}
    for offset, attempts, minutes in days:
        (one,) = stale(offset)
        seen = NOW - timedelta(minutes=minutes)
        known[one.day] = replace(Attempted(one, seen, seen), attempts=attempts, requested_at=seen, run_key="k")
    busy = {DAY + timedelta(days=offset) for offset in running}
    found = plan(stale(*sorted(offset for offset, _, _ in days)), known, busy, set(), NOW)
    requested = [
        one.first + timedelta(days=number) for one in found.requests for number in range((one.until - one.first).days)
    ]
    assert len(requested) == len(set(requested))
    assert not set(requested) & busy
    for one in found.days:
        before = known[one.stale.day]
        asked = one.stale.day in requested
        assert one.attempts == before.attempts + asked
        assert not asked or before.due_at() <= NOW


@pytest.mark.parametrize("attempts", [0, 1, 5, 500])
def test_a_day_is_always_due_at_some_time(attempts: int) -> None:
    (one,) = stale(0)
    due = replace(Attempted(one, NOW, NOW), attempts=attempts, requested_at=NOW).due_at()
    assert NOW < due <= NOW + LONGEST_PAUSE
