"""The ingest daemon's loop: start each location's poll at its slot, publish what comes, and report regularly.

The loop's thread only starts polls; it waits for nothing but the clock. A poll ends in the thread of whichever API
answers last, which publishes it.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.ingestion.counters import (
    BUG,
    FAILED,
    LATE,
    MISSED,
    OK,
    OVERLAP,
    POLL,
    PUBLISHABLE,
    SPOOL_FULL,
    PollCounters,
)
from lambda_pipeline.ingestion.poller import Done
from lambda_pipeline.ingestion.quota import Used
from lambda_pipeline.ingestion.schedule import Due, Schedule

log = logging.getLogger(__name__)

_LONGEST_WAIT = 1.0  # seconds; then the clock is read again, which may have been set, and late halves are given up
_STEP = 0.1  # seconds between batches of polls that are due together
_SHORTEST_REPORT, _LONGEST_REPORT = timedelta(minutes=1), timedelta(minutes=15)


class _Poller(Protocol):
    counters: PollCounters

    def start(self, location: Location, slot: datetime, done: Done, turn: int = 0) -> None: ...

    def expire(self) -> None: ...


class _Publisher(Protocol):
    @property
    def is_full(self) -> bool: ...

    def publish(self, message: ObservationMessage) -> None: ...


@dataclass(frozen=True, slots=True)
class PollReport:
    """What a stretch of time brought.

    Observations published; halves missing in them or elsewhere per (source, kind); polls that gave nothing; polls not
    made, by reason; requests used today per source.
    """

    published: int
    failed: int
    missing: Mapping[tuple[str, str], int] = field(default_factory=dict)
    missed: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, Used] = field(default_factory=dict)

    def __str__(self) -> str:
        missing = _listed({f"{source} {kind}": number for (source, kind), number in self.missing.items()})
        used = ", ".join(f"{source} {found.used}{_of(found.limit)}" for source, found in self.used.items())
        return (
            f"published {self.published}, halves missing {missing}, failed {self.failed}, "
            f"polls missed {_listed(self.missed)}" + (f"; requests today: {used}" if used else "")
        )


def run(
    locations: Sequence[Location],
    poller: _Poller,
    publisher: _Publisher,
    *,
    interval: timedelta,
    now: Callable[[], datetime],
    stop: threading.Event,
    used: Callable[[], Mapping[str, Used]] = dict,
    on_report: Callable[[PollReport], None] | None = None,
    on_turn: Callable[[], None] = lambda: None,
) -> None:
    """Poll until `stop` is set; returns within a second of it, leaving what is under way behind unpublished.

    Each location's current slot is polled at once: should a restart poll one twice, the first values count. A slot
    is missed, counted by reason and never caught up, where its location's poll before is still under way, where the
    next slot has come as well, or where the publisher's spool is full. A report is logged every interval, but no
    more often than every minute nor less than every quarter of an hour, and at the end; `used` gives the requests of
    today for it. `on_turn` is called at least every few seconds. The caller closes poller and publisher. Raises
    ValueError for an interval that is not a positive whole number of seconds.
    """
    polled = [location for location in locations if location.is_polled]
    loop = _Loop(polled, poller, publisher, stop)
    schedule = Schedule(len(polled), interval, now())
    # At a start or after a pause everybody is due: then polls begin at twice their usual rate, or at ten a second,
    # which is what TomTom allows, but not all at once.
    most = max(1, -(-2 * len(polled) * _STEP // interval.total_seconds()))
    every = min(max(interval, _SHORTEST_REPORT), _LONGEST_REPORT)
    report = _Reporter(poller.counters, used, every, now(), on_report)
    log.info("polling %d locations every %s", len(polled), interval)
    while not stop.is_set():
        moment = now()
        loop.begin(*schedule.take(moment, int(most)))
        poller.expire()
        report.tick(moment)
        on_turn()
        stop.wait(_wait(schedule.next_slot(), now()))
    report.finish()


def _wait(slot: datetime | None, moment: datetime) -> float:
    seconds = _LONGEST_WAIT if slot is None else (slot - moment).total_seconds()
    return min(max(seconds, _STEP), _LONGEST_WAIT)


class _Loop:
    """Which locations are being polled, and whether polling pauses."""

    def __init__(
        self, locations: Sequence[Location], poller: _Poller, publisher: _Publisher, stop: threading.Event
    ) -> None:
        self._locations, self._poller, self._publisher, self._stop = locations, poller, publisher, stop
        self._counters = poller.counters
        self._under_way: set[int] = set()  # adding and discarding one element is atomic
        self._is_paused = False

    def begin(self, due: Sequence[Due], late: int) -> None:
        """Start the polls that are due, and count those that are not made."""
        if late:
            self._counters.add(MISSED, LATE, late)
        self._look_at_spool()
        if self._is_paused:
            self._counters.add(MISSED, SPOOL_FULL, len(due))
            return
        for poll in due:
            if poll.number in self._under_way:
                self._counters.add(MISSED, OVERLAP)
                continue
            self._under_way.add(poll.number)
            self._poller.start(self._locations[poll.number], poll.slot, partial(self._end, poll.number), poll.turn)

    def _look_at_spool(self) -> None:
        is_full = self._publisher.is_full
        if is_full and not self._is_paused:
            log.error(
                "the spool is full: polling pauses until Kafka has taken some of it; "
                "what Kafka refuses stays in it (see docs/stream.md)"
            )
        elif self._is_paused and not is_full:
            log.info("the spool has room again: polling goes on")
        self._is_paused = is_full

    def _end(self, number: int, message: ObservationMessage | None) -> None:
        """Publish a poll's observation, in the thread in which the poll ended."""
        try:
            if message is not None and not self._stop.is_set():
                self._publisher.publish(message)
        except Exception as error:
            # A bug at one location does not end the others; a foreign text might hold a key.
            self._counters.add(POLL, BUG)
            log.error("publishing %s failed: %s", self._locations[number].name, type(error).__name__)
        finally:
            self._under_way.discard(number)


class _Reporter:
    """Says every so often what has been counted since the last time."""

    def __init__(
        self,
        counters: PollCounters,
        used: Callable[[], Mapping[str, Used]],
        every: timedelta,
        now: datetime,
        on_report: Callable[[PollReport], None] | None,
    ) -> None:
        self._counters, self._used, self._every, self._on_report = counters, used, every, on_report
        self._since = now
        self._before: Counter[tuple[str, str]] = Counter(counters.snapshot())

    def tick(self, now: datetime) -> None:
        """Report if it is time; also after the clock was set back."""
        if not timedelta(0) <= now - self._since < self._every:
            self._since = now
            self.finish()

    def finish(self) -> None:
        """Report what has come since the last time."""
        counts = Counter(self._counters.snapshot())
        news, self._before = counts - self._before, counts
        report = PollReport(
            published=news[POLL, PUBLISHABLE] - news[POLL, BUG],
            failed=news[POLL, FAILED] + news[POLL, BUG],
            missing={key: number for key, number in news.items() if key[0] not in (POLL, MISSED) and key[1] != OK},
            missed={kind: number for (source, kind), number in news.items() if source == MISSED},
            used=self._used(),
        )
        log.info("%s", report)
        if self._on_report is not None:
            self._on_report(report)


def _listed(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    parts = ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
    return f"{total} ({parts})" if total else "0"


def _of(limit: int | None) -> str:
    return "" if limit is None else f" of {limit}"
