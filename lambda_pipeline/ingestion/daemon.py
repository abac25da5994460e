"""The ingest daemon's loop: at each aligned slot, poll every location and publish what comes."""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.ingestion.poller import aligned_slot
from lambda_pipeline.ingestion.workers import WorkerPool

log = logging.getLogger(__name__)

_LONGEST_WAIT = 30.0  # seconds; then the clock is read again, which may have been set meanwhile
_STOP_CHECK = 0.2  # seconds between looks at the stop event while polls are under way


class _Poller(Protocol):
    def poll(self, location: Location, slot: datetime) -> ObservationMessage | None: ...


class _Publisher(Protocol):
    def publish(self, message: ObservationMessage) -> None: ...


@dataclass(frozen=True, slots=True)
class CycleReport:
    """What one slot brought: observations published, halves missing in them, locations that gave nothing.

    `missed_slots` are the slots since the last cycle that passed unpolled; `seconds` is how long the cycle took by
    the injected clock.
    """

    slot: datetime
    published: int
    missing_halves: int
    failed: int
    missed_slots: int
    seconds: float


def run(
    locations: Sequence[Location],
    poller: _Poller,
    publisher: _Publisher,
    *,
    interval: timedelta,
    now: Callable[[], datetime],
    stop: threading.Event,
    on_cycle: Callable[[CycleReport], None] | None = None,
    workers: int = 16,
) -> None:
    """Poll until `stop` is set; returns within a second of it, leaving what is under way behind unpublished.

    The first cycle is the current slot's, at once: should a restart poll a slot twice, the first values count. A
    cycle that takes longer than the interval makes slots be missed, which are counted and not caught up: no
    location is ever polled twice at a time. The caller closes poller and publisher. Raises ValueError for an
    interval that is not a positive whole number of seconds.
    """
    polled = [location for location in locations if location.is_polled]
    slot = aligned_slot(now(), interval)
    previous: datetime | None = None
    pool = WorkerPool(min(workers, len(polled)), "ingest")
    log.info("polling %d locations every %s", len(polled), interval)
    try:
        while _wait_until(slot, now, stop):
            missed = 0 if previous is None else max((slot - previous) // interval - 1, 0)
            report = _cycle(polled, poller, publisher, slot=slot, missed=missed, now=now, stop=stop, pool=pool)
            if report is None:
                break
            if on_cycle is not None:
                on_cycle(report)
            previous = slot
            slot = aligned_slot(now(), interval) + interval
            if slot == previous:  # the clock was set back a little; the slot has been polled
                slot += interval
    finally:
        pool.close()


def _wait_until(slot: datetime, now: Callable[[], datetime], stop: threading.Event) -> bool:
    """Wait for the slot; False if told to stop."""
    while not stop.is_set():
        seconds = (slot - now()).total_seconds()
        if seconds <= 0:
            return True
        stop.wait(min(seconds, _LONGEST_WAIT))
    return False


def _cycle(
    locations: Sequence[Location],
    poller: _Poller,
    publisher: _Publisher,
    *,
    slot: datetime,
    missed: int,
    now: Callable[[], datetime],
    stop: threading.Event,
    pool: WorkerPool,
) -> CycleReport | None:
    """One slot: every location polled, each published as it comes. None if told to stop before all came."""
    started = now()
    done: queue.SimpleQueue[Future[ObservationMessage | None]] = queue.SimpleQueue()
    waiting: dict[Future[ObservationMessage | None], Location] = {}
    for location in locations:
        future = pool.submit(poller.poll, location, slot)
        waiting[future] = location
        future.add_done_callback(done.put)
    published = missing = failed = 0
    while waiting:
        if stop.is_set():
            for future in waiting:
                future.cancel()
            return None
        try:
            future = done.get(timeout=_STOP_CHECK)
        except queue.Empty:
            continue
        location = waiting.pop(future)
        message = _result(future, location, slot)
        if message is None:
            failed += 1
            continue
        publisher.publish(message)
        published += 1
        missing += _missing_halves(location, message)
    report = CycleReport(slot, published, missing, failed, missed, (now() - started).total_seconds())
    log.info(
        "slot %s: published %d, halves missing %d, failed %d, slots missed %d, %.1f s",
        slot.astimezone(UTC).isoformat(),
        published,
        missing,
        failed,
        missed,
        report.seconds,
    )
    return report


def _result(
    future: "Future[ObservationMessage | None]", location: Location, slot: datetime
) -> ObservationMessage | None:
    """A poll's result. A bug in one location's poll is logged and does not end the others'."""
    error = future.exception()
    if error is None:
        return future.result()
    log.error("the poll of %s at %s failed: %s", location.name, slot.isoformat(), type(error).__name__)
    return None


def _missing_halves(location: Location, message: ObservationMessage) -> int:
    without_flow = location.latitude is not None and message.current_speed is None
    without_air = location.aqicn_station is not None and message.aqi_value is None
    return without_flow + without_air
