"""Clocks that jump: what is dated to the future is a dead letter, everything else is served, and polling goes on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.simulator import serve
from lambda_pipeline_tests.faults.jumping_clock import VARIABLE
from lambda_pipeline_tests.faults.load import read_log
from lambda_pipeline_tests.faults.polling import poll_from
from lambda_pipeline_tests.faults.stage import SEED, SPEED, Platform, size
from lambda_pipeline_tests.processes import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(900)]
_HOUR = 3600.0
_MODULE = "lambda_pipeline_tests.faults.jumping_clock"
_ENOUGH = 20


def jump(clock: Path, seconds: float) -> None:
    """From now on the clock is ahead by so much, or behind."""
    draft = clock.with_suffix(".new")
    draft.write_text(str(seconds), encoding="ascii")
    draft.replace(clock)


def timestamps(platform: Platform) -> list[tuple[datetime, bytes]]:
    """What the log holds, with the times that it is dated to."""
    values = [value or b"{}" for _, _, value in read_log(platform.connection, platform.topic)]
    return [(datetime.fromisoformat(msgspec.json.decode(value)["timestamp"]), value) for value in values]


@pytest.mark.parametrize(
    "ahead", [3 * _HOUR, pytest.param(-5 * _HOUR, marks=pytest.mark.full), pytest.param(20.0, marks=pytest.mark.full)]
)
def test_a_clock_that_jumps_there_and_back(platform: Platform, jakarta: City, ahead: float) -> None:
    """Ingest's and speed's: none of the platform's promises hangs on them."""
    clock = platform.folder / "clock"
    simulator = serve(jakarta, seed=SEED)
    platform.environment |= poll_from(simulator.url, simulator.url) | {VARIABLE: str(clock)}
    try:
        speed = platform.start(SPEED, module=_MODULE)
        ingest = platform.start("ingest", module=_MODULE)
        waits = []
        for _ in range(size(1, 3)):
            platform.progresses(_ENOUGH)
            jump(clock, ahead)
            shifted = datetime.now(UTC) + timedelta(seconds=ahead)
            wait_for(
                lambda shifted=shifted: _polled(platform, shifted, shifted + timedelta(minutes=5)) >= _ENOUGH,
                "it polls by the clock that jumped",
            )
            jump(clock, 0)
            waits.append(wait_for(lambda: _served_now(platform) >= 10, "what is polled now is served"))
        platform.progresses(_ENOUGH)
        assert ingest.stop(10) == 0
        platform.catches_up()
        assert speed.stop(10) == 0
    finally:
        simulator.close()
    latest = datetime.now(UTC) + timedelta(minutes=5)
    log = timestamps(platform)
    served = {row.timestamp for row in platform.rows("select timestamp from served_observations")}
    assert served == {moment for moment, _ in log if moment < latest}
    dead = platform.rows("select payload, error from dead_letters")
    assert sorted(row.payload for row in dead) == sorted(value for moment, value in log if moment >= latest)
    assert bool(dead) == (ahead > 300)
    distinct = {(value["location"], value["timestamp"]) for value in map(msgspec.json.decode, (v for _, v in log))}
    total = platform.rows("select count(*) as n from served_observations")[0].n
    assert total + len({row.payload for row in dead}) == len(distinct)
    platform.recovered(f"clock jumped by {ahead:+.0f} s and back", *waits)


def _polled(platform: Platform, first: datetime, until: datetime) -> int:
    return sum(first <= moment < until for moment, _ in timestamps(platform))


def _served_now(platform: Platform) -> int:
    query = "select count(*) as n from served_observations where timestamp between now() - interval '5 s' and now()"
    return int(platform.rows(query)[0].n)
