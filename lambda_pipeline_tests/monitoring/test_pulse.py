"""When a daemon counts as healthy: whenever a restart would not help."""

import pytest

from lambda_pipeline.monitoring.pulse import STUCK_AFTER, Health, Pulse
from lambda_pipeline.storage.engine import COMMIT_TIMEOUTS


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    return Pulse(stuck_after=60.0, clock=clock)


def test_before_anything_has_turned_it_is_starting(pulse: Pulse, clock: Clock) -> None:
    for _ in range(2):
        assert pulse.health() == Health("starting", "it has not begun its work yet")
        assert not pulse.health().is_healthy
        clock.now += 1000


def test_a_loop_that_turns_is_healthy_and_one_that_does_not_is_stuck(pulse: Pulse, clock: Clock) -> None:
    pulse.beat()
    clock.now += 60
    assert pulse.health() == Health("ok")
    clock.now += 1
    assert pulse.health() == Health("stuck", "loop has not gone on for 61 s")
    assert not pulse.health().is_healthy
    pulse.beat()
    assert pulse.health() == Health("ok")


def test_waiting_for_a_server_is_healthy_as_long_as_it_is_tried_again(pulse: Pulse, clock: Clock) -> None:
    pulse.waits("PostgreSQL is away.")
    assert pulse.health() == Health("waiting", "PostgreSQL is away.")
    assert pulse.health().is_healthy
    clock.now += 61
    assert pulse.health().status == "stuck"
    pulse.beat()
    assert pulse.health() == Health("ok")


def test_a_part_that_goes_on_does_not_hide_another(pulse: Pulse, clock: Clock) -> None:
    pulse.turns("committing")
    clock.now += 61
    pulse.beat()
    assert pulse.health() == Health("stuck", "committing has not gone on for 61 s")
    pulse.waits("PostgreSQL is away.", "committing")
    pulse.beat()
    assert pulse.health() == Health("waiting", "PostgreSQL is away.")
    pulse.turns("committing")
    assert pulse.health().status == "waiting"
    pulse.waits("PostgreSQL is away.")
    assert pulse.health().reason == "PostgreSQL is away."


def test_a_part_with_nothing_to_do_is_not_looked_at(pulse: Pulse, clock: Clock) -> None:
    pulse.turns("committing")
    pulse.rest("committing")
    clock.now += 61
    pulse.beat()
    assert pulse.health() == Health("ok")


def test_no_transaction_that_is_let_last_is_taken_for_stuck() -> None:
    assert 2 * COMMIT_TIMEOUTS.transaction <= STUCK_AFTER
