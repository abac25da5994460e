"""The real ingest against APIs that hang, refuse, and answer nonsense without end: the other half is served."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.simulator import serve
from lambda_pipeline_tests.faults.misbehaving import MISBEHAVIOURS, MisbehavingApi
from lambda_pipeline_tests.faults.polling import assert_each_poll_is_served_once, poll_from, says
from lambda_pipeline_tests.faults.stage import FULL, SEED, SPEED, Platform
from lambda_pipeline_tests.processes import wait_for

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(1800)]
_MEMORY = 250 * 1024 * 1024
_KEYS = {"TOMTOM_API_KEY": "key-of-tomtom-7f3a", "AQICN_TOKEN": "token-of-aqicn-9c1e"}
_SHORT = ("answers without end", "redirects")
_MEASURE = {"tomtom": "current_speed", "aqicn": "aqi_value"}
_ENOUGH = 10  # observations, one of each location


@pytest.fixture
def apis(platform: Platform, jakarta: City) -> Iterator[dict[str, MisbehavingApi]]:
    """Both APIs, asked every second."""
    simulator = serve(jakarta, seed=SEED)
    made = {source: MisbehavingApi(simulator) for source in _MEASURE}
    platform.environment |= poll_from(made["tomtom"].url, made["aqicn"].url) | _KEYS
    yield made
    for api in made.values():
        api.close()
    simulator.close()


def served_since(platform: Platform, moment: datetime, condition: str) -> int:
    """Observations of polls since a moment that meet a condition."""
    query = f"select count(*) as n from served_observations where timestamp > :moment and {condition}"
    return int(platform.rows(query, moment=moment)[0].n)


def are_served(platform: Platform, condition: str, patience: float = 90) -> float:
    """Wait until polls from now on meet a condition, at every location; returns the seconds."""
    now = datetime.now(UTC)
    return wait_for(lambda: served_since(platform, now, condition) >= _ENOUGH, f"{condition} is served", patience)


@pytest.mark.parametrize("source", ["tomtom", pytest.param("aqicn", marks=pytest.mark.full)])
def test_whatever_an_api_does_the_other_half_is_served_and_later_both_are_again(
    platform: Platform, apis: dict[str, MisbehavingApi], source: str
) -> None:
    api = apis[source]
    measure, other = _MEASURE[source], next(column for name, column in _MEASURE.items() if name != source)
    platform.start(SPEED)
    ingest = platform.start("ingest")
    both = f"{measure} is not null and {other} is not null"

    def half_is_served() -> bool:
        assert ingest.memory() < _MEMORY
        only_other = served_since(platform, began, f"{measure} is null and {other} is not null")
        return api.bad_answers >= 2 and only_other >= _ENOUGH

    are_served(platform, both)
    for how in MISBEHAVIOURS if FULL else _SHORT:
        api.misbehave(how)
        began = datetime.now(UTC)
        wait_for(half_is_served, f"the other half is served although {source} {how}")
        api.misbehave(None)
        patience = 330 if how == "answers 403" else 90  # a refused key is tried every five minutes
        platform.recovered(f"{source} {how}", are_served(platform, both, patience))
    assert ingest.stop(10) == 0
    platform.catches_up()
    assert_each_poll_is_served_once(platform, [])
    assert api.elsewhere.paths == [], "a redirect was followed, with the key"
    assert "Traceback" not in ingest.log
    for key in _KEYS.values():
        assert key not in ingest.log


@pytest.mark.full
def test_both_down_is_no_observation_and_no_end_of_the_daemon(
    platform: Platform, apis: dict[str, MisbehavingApi]
) -> None:
    for api in apis.values():
        api.misbehave("answers 500")
    platform.start(SPEED)
    ingest = platform.start("ingest")
    for source in apis:
        says(ingest, f"{source} fails")
    assert platform.consumed() == 0
    for api in apis.values():
        api.misbehave(None)
    seconds = platform.progresses(_ENOUGH)
    assert ingest.stop(10) == 0
    platform.catches_up()
    assert_each_poll_is_served_once(platform, [])
    platform.recovered("both APIs down", seconds)
