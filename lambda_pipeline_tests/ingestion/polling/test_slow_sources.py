"""A source that hangs, keeps failing, or is asked at some turns only, beside one that answers."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.ingestion.poller import Poller
from lambda_pipeline.ingestion.source_errors import ErrorKind
from lambda_pipeline.ingestion.tomtom import Flow
from lambda_pipeline_tests.ingestion.polling.sources import (
    FLOW,
    PLACE,
    SLOT,
    Clock,
    FakeAqicn,
    FakeTomTom,
    refused,
)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until a condition holds, which other threads bring about."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Hanging:
    """A source that answers when released; `started` tells that it has been asked."""

    def __init__(self) -> None:
        self.release, self.started = threading.Event(), threading.Semaphore(0)

    def flow(self, latitude: float, longitude: float) -> Flow:
        self.started.release()
        self.release.wait(30)
        return FLOW


class Results:
    """What polls ended with, in their order."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[ObservationMessage | None] = queue.SimpleQueue()

    def __call__(self, message: ObservationMessage | None) -> None:
        self.queue.put(message)

    def next(self) -> ObservationMessage | None:
        return self.queue.get(timeout=10)


def test_a_half_that_never_ends_is_given_up_and_counts_once(aqicn: FakeAqicn, clock: Clock) -> None:
    hanging, results = Hanging(), Results()
    poller = Poller(hanging, aqicn, timedelta(hours=3), half_timeout=40, clock=clock)
    poller.start(PLACE, SLOT, results)
    assert hanging.started.acquire(timeout=10)
    wait_for(lambda: poller.counters.snapshot().get(("aqicn", "ok")) == 1)
    clock.time = 39.9
    poller.expire()
    assert results.queue.empty()
    clock.time = 40.0
    poller.expire()
    message = results.next()
    assert message is not None
    assert (message.current_speed, message.aqi_value) == (None, 93)
    hanging.release.set()  # its late answer changes nothing
    assert poller.poll(PLACE, SLOT) is not None
    assert poller.counters.snapshot()["tomtom", "timeout"] == 1
    assert results.queue.empty()
    poller.close()


def test_a_source_that_hangs_delays_no_other_and_what_waits_too_long_is_not_asked(
    aqicn: FakeAqicn, clock: Clock
) -> None:
    hanging, results = Hanging(), Results()
    poller = Poller(hanging, aqicn, timedelta(hours=3), workers=1, queue_timeout=10, clock=clock)
    poller.start(Location("Road", None, 1.0, 2.0), SLOT, results)
    assert hanging.started.acquire(timeout=10)
    poller.start(Location("Behind it", None, 3.0, 4.0), SLOT, results)
    poller.start(Location("Station", "A1"), SLOT, results)
    station = results.next()
    assert station is not None
    assert (station.location, station.aqi_value) == ("Station", 93)
    clock.time = 10.1
    hanging.release.set()
    road = results.next()
    assert road is not None
    assert road.location == "Road"
    assert results.next() is None
    counts = poller.counters.snapshot()
    assert (counts["tomtom", "ok"], counts["tomtom", "busy"]) == (1, 1)
    poller.close()


def test_a_source_that_keeps_failing_is_left_alone_and_then_probed(
    poller: Poller, tomtom: FakeTomTom, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tomtom.answer = refused("tomtom", ErrorKind.SERVER)
    for _ in range(8):
        assert poller.poll(PLACE, SLOT) is not None
    assert len(tomtom.asked) == 5
    assert (poller.counters.snapshot()["tomtom", "server"], poller.counters.snapshot()["tomtom", "open"]) == (5, 3)
    tomtom.answer = FLOW
    clock.time = 5.0
    message = poller.poll(PLACE, SLOT)
    assert message is not None
    assert message.traffic_level == 4
    assert [record.getMessage() for record in caplog.records] == [
        "Kebon Sirih at 2025-03-05T01:00:00+00:00: tomtom: server: HTTP 403",
        "tomtom fails (HTTP 403): it is left alone for 5 s, then tried with one question at a time. "
        "Its measures stay empty meanwhile.",
        "tomtom answers again.",
    ]


class EverySecond:
    """A pace."""

    def takes(self, turn: int) -> bool:
        return turn % 2 == 0


def test_a_stretched_source_is_asked_at_some_turns_and_the_other_at_all(
    tomtom: FakeTomTom, aqicn: FakeAqicn, clock: Clock
) -> None:
    poller = Poller(tomtom, aqicn, timedelta(hours=3), paces={"tomtom": EverySecond()}, clock=clock)
    results = Results()
    levels = []
    for turn in range(4):
        poller.start(PLACE, SLOT, results, turn)
        message = results.next()
        assert message is not None
        assert message.aqi_value == 93
        levels.append(message.traffic_level)
    assert levels == [4, None, 4, None]
    poller.start(Location("Road", None, 1.0, 2.0), SLOT, results, 5)
    assert results.next() is None
    counts = poller.counters.snapshot()
    assert (counts["tomtom", "quota"], counts["missed", "quota"]) == (3, 1)
    assert ("poll", "failed") not in counts
    poller.close()
