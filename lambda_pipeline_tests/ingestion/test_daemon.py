"""The daemon's loop, with a clock that moves only when the loop waits."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.ingestion.daemon import CycleReport, run

START = datetime(2025, 3, 5, 1, 2, 30, tzinfo=UTC)
INTERVAL = timedelta(minutes=6)
FIRST = datetime(2025, 3, 5, 1, 0, tzinfo=UTC)
PLACES = [Location("A", "A1", 1.0, 2.0), Location("B", "A2"), Location("C", None, 3.0, 4.0), Location("Import only")]


class Time(threading.Event):
    """The stop event and the clock in one: to wait is to let the clock go on."""

    def __init__(self, cycles: int) -> None:
        super().__init__()
        self.now = START
        self.cycles = cycles
        self.reports: list[CycleReport] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timedelta(seconds=timeout or 0)
        return self.is_set()

    def on_cycle(self, report: CycleReport) -> None:
        self.reports.append(report)
        if len(self.reports) == self.cycles:
            self.set()


class FakePoller:
    def __init__(self, poll: Callable[[Location, datetime], ObservationMessage | None] | None = None) -> None:
        self.polled: list[tuple[str, datetime]] = []
        self._poll = poll or whole

    def poll(self, location: Location, slot: datetime) -> ObservationMessage | None:
        self.polled.append((location.name, slot))
        return self._poll(location, slot)


class FakePublisher:
    def __init__(self) -> None:
        self.messages: list[ObservationMessage] = []

    def publish(self, message: ObservationMessage) -> None:
        self.messages.append(message)


def whole(location: Location, slot: datetime) -> ObservationMessage:
    return ObservationMessage(timestamp=slot, location=location.name, aqi_value=50, current_speed=10.0)


def go(poller: FakePoller, publisher: FakePublisher, clock: Time) -> None:
    run(
        PLACES,
        poller,
        publisher,
        interval=INTERVAL,
        now=lambda: clock.now,
        stop=clock,
        on_cycle=clock.on_cycle,
    )


def test_every_polled_location_at_every_slot_beginning_with_the_current_one() -> None:
    poller, publisher, clock = FakePoller(), FakePublisher(), Time(cycles=3)
    go(poller, publisher, clock)
    slots = [FIRST, FIRST + INTERVAL, FIRST + 2 * INTERVAL]
    assert Counter(poller.polled) == Counter((name, slot) for slot in slots for name in "ABC")
    assert Counter((m.location, m.timestamp) for m in publisher.messages) == Counter(poller.polled)
    assert [(r.slot, r.published, r.failed, r.missed_slots) for r in clock.reports] == [(s, 3, 0, 0) for s in slots]


def test_missing_halves_and_failures_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def poll(location: Location, slot: datetime) -> ObservationMessage | None:
        if location.name == "A":
            return ObservationMessage(timestamp=slot, location="A", current_speed=10.0)  # no air
        if location.name == "B":
            return ObservationMessage(timestamp=slot, location="B", aqi_value=50)  # has no road to ask about
        return None

    publisher, clock = FakePublisher(), Time(cycles=1)
    go(FakePoller(poll), publisher, clock)
    assert [(r.published, r.missing_halves, r.failed) for r in clock.reports] == [(2, 1, 1)]
    lines = [message for message in caplog.messages if message.startswith("slot ")]
    assert lines == ["slot 2025-03-05T01:00:00+00:00: published 2, halves missing 1, failed 1, slots missed 0, 0.0 s"]


def test_a_bug_at_one_location_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def poll(location: Location, slot: datetime) -> ObservationMessage | None:
        if location.name == "B":
            raise RuntimeError("key=s3cr3t")
        return whole(location, slot)

    clock = Time(cycles=2)
    go(FakePoller(poll), FakePublisher(), clock)
    assert [(r.published, r.failed) for r in clock.reports] == [(2, 1)] * 2
    assert "the poll of B at 2025-03-05T01:00:00+00:00 failed: RuntimeError" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_slots_missed_by_a_slow_cycle_are_counted_and_not_caught_up() -> None:
    clock = Time(cycles=2)

    def poll(location: Location, slot: datetime) -> ObservationMessage | None:
        if location.name == "A" and slot == FIRST:
            clock.now += timedelta(minutes=15)  # 01:17:30
        return whole(location, slot)

    poller = FakePoller(poll)
    go(poller, FakePublisher(), clock)
    assert [(r.slot, r.missed_slots) for r in clock.reports] == [(FIRST, 0), (FIRST + 3 * INTERVAL, 2)]
    assert len(poller.polled) == 6


def test_a_clock_set_back_a_little_polls_no_slot_twice() -> None:
    clock = Time(cycles=2)

    def poll(location: Location, slot: datetime) -> ObservationMessage | None:
        if location.name == "A" and slot == FIRST:
            clock.now = FIRST - timedelta(seconds=1)
        return whole(location, slot)

    go(FakePoller(poll), FakePublisher(), clock)
    assert [r.slot for r in clock.reports] == [FIRST, FIRST + INTERVAL]


def test_stopped_while_polls_hang_it_ends_at_once_and_publishes_nothing_more() -> None:
    stop, release, asked = threading.Event(), threading.Event(), threading.Event()

    class Hanging:
        def poll(self, location: Location, slot: datetime) -> ObservationMessage | None:
            asked.set()
            release.wait(60)
            return whole(location, slot)

    publisher = FakePublisher()
    daemon = threading.Thread(
        target=lambda: run(PLACES, Hanging(), publisher, interval=INTERVAL, now=lambda: START, stop=stop)
    )
    daemon.start()
    assert asked.wait(10)
    started = time.monotonic()
    stop.set()
    daemon.join(10)
    assert time.monotonic() - started < 2
    assert not daemon.is_alive()
    release.set()
    assert publisher.messages == []


def test_stopped_while_it_waits_it_ends_at_once() -> None:
    stop, done = threading.Event(), threading.Event()
    daemon = threading.Thread(
        target=lambda: run(
            PLACES,
            FakePoller(),
            FakePublisher(),
            interval=INTERVAL,
            now=lambda: START,
            stop=stop,
            on_cycle=lambda _: done.set(),
        )
    )
    daemon.start()
    assert done.wait(10)
    started = time.monotonic()
    stop.set()
    daemon.join(10)
    assert time.monotonic() - started < 2
    assert not daemon.is_alive()


def test_stopped_before_it_starts_it_polls_nothing() -> None:
    clock, poller = Time(cycles=1), FakePoller()
    clock.set()
    go(poller, FakePublisher(), clock)
    assert poller.polled == []


def test_a_city_without_polled_locations_is_no_error() -> None:
    clock = Time(cycles=1)
    run(
        [], FakePoller(), FakePublisher(), interval=INTERVAL, now=lambda: clock.now, stop=clock, on_cycle=clock.on_cycle
    )
    assert clock.reports[0].published == 0
