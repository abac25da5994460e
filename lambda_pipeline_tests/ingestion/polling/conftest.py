"""A poller of two sources that answer."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from lambda_pipeline.ingestion.poller import Poller
from lambda_pipeline_tests.ingestion.polling.sources import Clock, FakeAqicn, FakeTomTom


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tomtom() -> FakeTomTom:
    return FakeTomTom()


@pytest.fixture
def aqicn() -> FakeAqicn:
    return FakeAqicn()


@pytest.fixture
def poller(tomtom: FakeTomTom, aqicn: FakeAqicn, clock: Clock) -> Iterator[Poller]:
    made = Poller(tomtom, aqicn, timedelta(hours=3), clock=clock)
    yield made
    made.close()
