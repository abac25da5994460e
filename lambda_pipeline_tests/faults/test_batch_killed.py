"""Batch runs killed, and two at once, while the speed layer goes on."""

import pytest

from lambda_pipeline_tests.faults.stage import SPEED, Platform, assert_served_is_produced, size
from lambda_pipeline_tests.processes import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(1200)]


def test_a_batch_run_killed_in_the_middle_and_run_again(platform: Platform) -> None:
    kills = size(2, 10)
    platform.start(SPEED)
    with platform.load() as load:
        platform.progresses(2000)
        for _ in range(kills):
            run = platform.start(*platform.backfill())
            wait_for(lambda: _works(platform) or not run.alive, "the run works in the database", interval=0.01)  # noqa: B023
            run.kill()
        platform.run(*platform.backfill())
    platform.catches_up()
    assert_served_is_produced(platform, load)
    platform.run(*platform.backfill())
    assert_served_is_produced(platform, load)
    assert platform.rows("select count(*) as n from realtime_data")[0].n == 0
    platform.report(f"batch killed {kills} times under load: {load.sent} records")


def _works(platform: Platform) -> bool:
    """Whether a batch session is in a transaction of its own, at a moment that chance picks."""
    sessions = platform.rows(
        "select 1 from pg_stat_activity where application_name like 'lambda-pipeline batch%' "
        "and state <> 'idle' and datname = current_database()"
    )
    return bool(sessions) and platform.rng.random() < 0.3


def test_two_batch_runs_at_once_give_what_one_gives(platform: Platform) -> None:
    platform.start(SPEED)
    with platform.load() as load:
        platform.progresses(2000)
        both = [platform.start(*platform.backfill()) for _ in range(2)]
        codes = [run.wait(240) for run in both]
    assert 0 in codes, [run.log[-1500:] for run in both]
    platform.catches_up()
    assert_served_is_produced(platform, load)
