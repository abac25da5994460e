"""The daemon's loop, mostly with a clock that moves only when the loop waits."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.ingestion.aqicn import Reading
from lambda_pipeline.ingestion.counters import FAILED, POLL, PUBLISHABLE, PollCounters
from lambda_pipeline.ingestion.daemon import PollReport, run
from lambda_pipeline.ingestion.poller import Done, Poller
from lambda_pipeline.ingestion.quota import Used
from lambda_pipeline.ingestion.tomtom import Flow
from lambda_pipeline.monitoring.pulse import STUCK_AFTER, Pulse

START = datetime(2025, 3, 5, 1, 2, 30, tzinfo=UTC)
FIRST = datetime(2025, 3, 5, 1, 0, tzinfo=UTC)
INTERVAL = timedelta(minutes=6)
PLACES = [Location("A", "A1", 1.0, 2.0), Location("B", "A2"), Location("Import only"), Location("C", None, 3.0, 4.0)]
PHASES = {"A": timedelta(0), "B": timedelta(minutes=2), "C": timedelta(minutes=4)}


class Time(threading.Event):
    """The stop event and the clock in one: to wait is to let the clock go on. Stops after a while."""

    def __init__(self, until: timedelta) -> None:
        super().__init__()
        self.now = START
        self.until = START + until
        self.on_wait: Callable[[], None] = lambda: None

    def wait(self, timeout: float | None = None) -> bool:
        self.on_wait()
        self.now += timedelta(seconds=timeout or 0)
        if self.now > self.until:
            self.set()
        return self.is_set()


class FakePoller:
    """Ends each poll at once with what `answer` gives; with `holds`, when `release` is called."""

    def __init__(self, answer: Callable[[Location, datetime], ObservationMessage | None] | None = None) -> None:
        self.counters = PollCounters()
        self.polled: list[tuple[str, datetime]] = []
        self.holds: set[str] = set()
        self.held: list[tuple[Location, datetime, Done]] = []
        self.expired = 0
        self._answer = answer or whole

    def start(self, location: Location, slot: datetime, done: Done, turn: int = 0) -> None:
        self.polled.append((location.name, slot))
        if location.name in self.holds:
            self.held.append((location, slot, done))
        else:
            self._finish(location, slot, done)

    def release(self) -> None:
        while self.held:
            self._finish(*self.held.pop())

    def expire(self) -> None:
        self.expired += 1

    def _finish(self, location: Location, slot: datetime, done: Done) -> None:
        message = self._answer(location, slot)
        self.counters.add(POLL, FAILED if message is None else PUBLISHABLE)
        done(message)


class FakePublisher:
    def __init__(self) -> None:
        self.messages: list[ObservationMessage] = []
        self.is_full = False

    def publish(self, message: ObservationMessage) -> None:
        self.messages.append(message)


def whole(location: Location, slot: datetime) -> ObservationMessage:
    return ObservationMessage(timestamp=slot, location=location.name, aqi_value=50, current_speed=10.0)


def go(poller: FakePoller, publisher: FakePublisher, clock: Time) -> PollReport:
    """Run until the clock stops; all reports in one."""
    reports: list[PollReport] = []
    run(
        PLACES, poller, publisher,
        interval=INTERVAL, now=lambda: clock.now, stop=clock, on_report=reports.append,
    )  # fmt: skip
    missed, missing = Counter[str](), Counter[tuple[str, str]]()
    for report in reports:
        missed.update(report.missed)
        missing.update(report.missing)
    return PollReport(
        sum(report.published for report in reports), sum(report.failed for report in reports), missing, missed
    )


def slots_of(name: str, polled: list[tuple[str, datetime]]) -> list[datetime]:
    return [slot for place, slot in polled if place == name]


def test_every_polled_location_at_every_slot_of_its_own_beginning_with_the_current_one() -> None:
    poller, publisher, clock = FakePoller(), FakePublisher(), Time(timedelta(minutes=15))
    report = go(poller, publisher, clock)  # 01:02:30 to 01:17:30
    assert slots_of("A", poller.polled) == [FIRST + number * INTERVAL for number in range(3)]
    assert slots_of("B", poller.polled) == [FIRST + PHASES["B"] + number * INTERVAL for number in range(3)]
    assert slots_of("C", poller.polled) == [FIRST + PHASES["C"] + number * INTERVAL for number in range(-1, 3)]
    assert [(message.location, message.timestamp) for message in publisher.messages] == poller.polled
    assert (report.published, report.failed, report.missed) == (10, 0, {})


def test_polls_begin_within_a_second_of_their_slot() -> None:
    clock, late = Time(timedelta(hours=1)), []

    def answer(location: Location, slot: datetime) -> ObservationMessage:
        late.append((clock.now - slot).total_seconds())
        return whole(location, slot)

    go(FakePoller(answer), FakePublisher(), clock)
    assert max(late[3:]) < 1  # the first three are those at the start


def test_a_location_whose_poll_is_under_way_misses_its_slot_and_the_others_do_not() -> None:
    poller, publisher, clock = FakePoller(), FakePublisher(), Time(timedelta(minutes=30))
    poller.holds = {"B"}
    report = go(poller, publisher, clock)
    assert slots_of("B", poller.polled) == [FIRST + PHASES["B"]]
    assert report.missed == {"overlap": 5}
    assert len(slots_of("A", poller.polled)) == 6
    assert poller.expired > 0


def test_when_its_poll_has_ended_a_location_goes_on_at_its_next_slot() -> None:
    poller, publisher, clock = FakePoller(), FakePublisher(), Time(timedelta(minutes=30))
    poller.holds = {"B"}

    def release_after_ten_minutes() -> None:
        if clock.now > START + timedelta(minutes=10):
            poller.holds = set()
            poller.release()

    clock.on_wait = release_after_ten_minutes
    report = go(poller, publisher, clock)
    assert slots_of("B", poller.polled) == [FIRST + PHASES["B"] + number * INTERVAL for number in (0, 2, 3, 4, 5)]
    assert report.missed == {"overlap": 1}
    assert len(slots_of("B", [(m.location, m.timestamp) for m in publisher.messages])) == 5


def test_slots_that_pass_while_the_process_is_stopped_are_counted_and_not_caught_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    poller, clock = FakePoller(), Time(timedelta(minutes=60))

    freezes = [timedelta(minutes=30)]

    def freeze_once() -> None:
        if clock.now > START + timedelta(minutes=10) and freezes:
            clock.now += freezes.pop()

    clock.on_wait = freeze_once
    report = go(poller, FakePublisher(), clock)
    assert report.missed == {"late": 12}
    assert len(set(poller.polled)) == len(poller.polled) == 33 - 12
    assert "polls missed 12 (late 12)" in caplog.text


def test_a_clock_set_back_polls_no_slot_twice() -> None:
    poller, clock = FakePoller(), Time(timedelta(minutes=30))
    setbacks = [timedelta(minutes=4)] * 3

    def set_back() -> None:
        if clock.now > START + timedelta(minutes=10) and setbacks:
            clock.now -= setbacks.pop()

    clock.on_wait = set_back
    report = go(poller, FakePublisher(), clock)
    assert len(set(poller.polled)) == len(poller.polled)
    assert report.missed == {}


def test_a_full_spool_pauses_the_polling_and_says_so_once_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    poller, publisher, clock = FakePoller(), FakePublisher(), Time(timedelta(minutes=60))

    def fill() -> None:
        minutes = (clock.now - START) / timedelta(minutes=1)
        publisher.is_full = 10 < minutes < 40

    clock.on_wait = fill
    report = go(poller, publisher, clock)
    assert report.missed == {"spool full": 15}
    assert len(publisher.messages) == 33 - 15
    assert [message for message in caplog.messages if "spool" in message and "missed" not in message] == [
        "the spool is full: polling pauses until Kafka has taken some of it; what Kafka refuses stays in it "
        "(see docs/stream.md)",
        "the spool has room again: polling goes on",
    ]


def test_it_reports_every_interval_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    poller, clock = FakePoller(), Time(timedelta(minutes=14))
    poller.counters.add("tomtom", "ok", 100)  # from before: not in the report
    clock.on_wait = lambda: poller.counters.add("tomtom", "timeout") if clock.now == START else None
    run(
        PLACES, poller, FakePublisher(), interval=INTERVAL, now=lambda: clock.now, stop=clock,
        used=lambda: {"aqicn": Used(7, None), "tomtom": Used(12, 2500)},
    )  # fmt: skip
    assert [message for message in caplog.messages if message.startswith("published")] == [
        "published 6, halves missing 1 (tomtom timeout 1), failed 0, polls missed 0; "
        "requests today: aqicn 7, tomtom 12 of 2500",
        "published 3, halves missing 0, failed 0, polls missed 0; requests today: aqicn 7, tomtom 12 of 2500",
        "published 1, halves missing 0, failed 0, polls missed 0; requests today: aqicn 7, tomtom 12 of 2500",
    ]


def test_polls_that_give_nothing_are_reported() -> None:
    poller = FakePoller(lambda location, slot: None if location.name == "B" else whole(location, slot))
    report = go(poller, FakePublisher(), Time(timedelta(minutes=5)))
    assert (report.published, report.failed) == (4, 1)


def test_a_bug_at_one_location_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Picky(FakePublisher):
        def publish(self, message: ObservationMessage) -> None:
            if message.location == "B":
                raise RuntimeError("key=s3cr3t")
            super().publish(message)

    publisher = Picky()
    report = go(FakePoller(), publisher, Time(timedelta(minutes=15)))
    assert (report.published, report.failed, len(publisher.messages)) == (7, 3, 7)
    assert "publishing B failed: RuntimeError" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_at_the_start_ten_polls_a_second_begin_at_most() -> None:
    places = [Location(f"{number}", None, 1.0, 2.0) for number in range(25)]
    clock, begun = Time(timedelta(seconds=5)), list[int]()
    poller = FakePoller(lambda location, slot: begun.append(int((clock.now - START).total_seconds())))
    run(places, poller, FakePublisher(), interval=INTERVAL, now=lambda: clock.now, stop=clock)
    assert len(poller.polled) == 25
    assert max(Counter(begun).values()) <= 10
    assert max(begun) < 3


def test_ten_thousand_locations_do_not_all_begin_at_once() -> None:
    places = [Location(f"{number}", "A") for number in range(10_000)]
    poller, clock = FakePoller(), Time(timedelta(seconds=90))
    begun: Counter[int] = Counter()
    last = [0]

    def count() -> None:
        begun[int((clock.now - START).total_seconds())] += len(poller.polled) - last[0]
        last[0] = len(poller.polled)

    clock.on_wait = count
    run(
        places, poller, FakePublisher(), interval=timedelta(seconds=60), now=lambda: clock.now, stop=clock,
    )  # fmt: skip
    assert max(begun.values()) <= 400  # the usual rate is 167 a second
    assert 24_500 < len(poller.polled) <= 25_000
    assert ("missed", "late") not in poller.counters.snapshot()


def test_stopped_while_polls_hang_it_ends_at_once_and_publishes_nothing_more() -> None:
    stop, asked = threading.Event(), threading.Event()
    poller, publisher = FakePoller(), FakePublisher()
    poller.holds = {"A", "B", "C"}

    def now() -> datetime:
        if len(poller.held) == 3:
            asked.set()
        return START

    daemon = threading.Thread(target=lambda: run(PLACES, poller, publisher, interval=INTERVAL, now=now, stop=stop))
    daemon.start()
    assert asked.wait(10)
    started = time.monotonic()
    stop.set()
    daemon.join(10)
    assert time.monotonic() - started < 2
    assert not daemon.is_alive()
    poller.release()
    assert publisher.messages == []


def test_stopped_before_it_starts_it_polls_nothing() -> None:
    clock, poller = Time(timedelta(minutes=6)), FakePoller()
    clock.set()
    go(poller, FakePublisher(), clock)
    assert poller.polled == []


def test_a_city_without_polled_locations_is_no_error() -> None:
    poller, clock = FakePoller(), Time(timedelta(minutes=6))
    run([], poller, FakePublisher(), interval=INTERVAL, now=lambda: clock.now, stop=clock)
    assert poller.polled == []


def test_an_interval_is_a_positive_whole_number_of_seconds() -> None:
    with pytest.raises(ValueError, match="interval"):
        run(
            PLACES, FakePoller(), FakePublisher(),
            interval=timedelta(0), now=lambda: START, stop=threading.Event(),
        )  # fmt: skip


def test_it_tells_at_least_every_few_seconds_that_it_turns() -> None:
    clock, turns = Time(timedelta(minutes=2)), []
    run(
        PLACES, FakePoller(), FakePublisher(),
        interval=INTERVAL, now=lambda: clock.now, stop=clock, on_turn=lambda: turns.append(clock.now),
    )  # fmt: skip
    assert turns[0] == START
    assert max(after - before for after, before in zip(turns[1:], turns, strict=False)) <= timedelta(seconds=1)
    assert turns[-1] >= START + timedelta(minutes=2) - timedelta(seconds=1)


def test_a_loop_that_hangs_is_stuck() -> None:
    """The real loop in a thread, in a poll that does not return."""
    now, hangs, release = [0.0], threading.Event(), threading.Event()
    pulse = Pulse(clock=lambda: now[0])

    class HangingPoller(FakePoller):
        def start(self, location: Location, slot: datetime, done: Done, turn: int = 0) -> None:
            if len(self.polled) == 1:
                hangs.set()
                release.wait(60)
            super().start(location, slot, done, turn)

    clock = Time(timedelta(minutes=2))
    daemon = threading.Thread(
        target=lambda: run(
            PLACES, HangingPoller(), FakePublisher(),
            interval=INTERVAL, now=lambda: clock.now, stop=clock, on_turn=pulse.beat,
        ),
        daemon=True,
    )  # fmt: skip
    daemon.start()
    try:
        assert hangs.wait(30)
        assert pulse.health().status == "ok"
        now[0] += STUCK_AFTER + 1
        assert pulse.health().status == "stuck"
    finally:
        release.set()
        daemon.join(30)
    assert pulse.health().status == "ok"


class HangingTomTom:
    """Answers nobody until released."""

    def __init__(self) -> None:
        self.release = threading.Event()

    def flow(self, latitude: float, longitude: float) -> Flow:
        self.release.wait(60)
        return Flow(20.0, 40.0)


class PromptAqicn:
    def feed(self, station: str) -> Reading:
        return Reading(50, datetime.now(UTC))


def test_an_api_that_hangs_delays_no_location_that_does_not_need_it() -> None:
    """The real poller and the real clock: twenty roads hang in four threads, three stations go on every second."""
    places = [Location(f"road {number}", None, 1.0, 2.0) for number in range(20)]
    places += [Location(f"station {number}", f"A{number}") for number in range(3)]
    tomtom, publisher, stop = HangingTomTom(), FakePublisher(), threading.Event()
    poller = Poller(tomtom, PromptAqicn(), timedelta(hours=3), workers=4)
    daemon = threading.Thread(
        target=lambda: run(
            places, poller, publisher, interval=timedelta(seconds=1), now=lambda: datetime.now(UTC), stop=stop
        )
    )
    daemon.start()
    end = time.monotonic() + 30
    while len(publisher.messages) < 12 and time.monotonic() < end:
        time.sleep(0.01)
    stop.set()
    daemon.join(10)
    tomtom.release.set()
    poller.close()
    for number in range(3):
        slots = slots_of(f"station {number}", [(m.location, m.timestamp) for m in publisher.messages])
        assert len(slots) >= 3
        assert slots == sorted(set(slots))
    assert {message.location.split()[0] for message in publisher.messages} == {"station"}
    assert poller.counters.snapshot()["missed", "overlap"] >= 20
