"""The poller: one poll of one location becomes one observation, from both APIs in parallel.

Whatever one API does, the other's half is still published. A half is missing (null), never zero. No thread waits for
a poll: whichever half comes last ends it.
"""

import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.observation import SCHEMA_VERSION, ObservationMessage
from lambda_pipeline.domain.traffic import traffic_level
from lambda_pipeline.ingestion import aqicn, tomtom
from lambda_pipeline.ingestion.aqicn import Reading
from lambda_pipeline.ingestion.breaker import Breaker, BreakerPolicy
from lambda_pipeline.ingestion.counters import BUG, FAILED, MISSED, OK, POLL, PUBLISHABLE, PollCounters
from lambda_pipeline.ingestion.lane import EveryTurn, Lane, Pace
from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError
from lambda_pipeline.ingestion.tomtom import Flow
from lambda_pipeline.ingestion.workers import WorkerPool

log = logging.getLogger(__name__)

_MAX_AHEAD = timedelta(hours=1)  # a station's clock may be wrong by a little
_SECONDS_AN_ANSWER = 0.5
_FEWEST_WORKERS, _MOST_WORKERS = 8, 128
_QUIET = timedelta(minutes=15)  # between two warnings of the same kind; the regular report counts them all
_SAID_ELSEWHERE = frozenset({ErrorKind.KEY, ErrorKind.OPEN, ErrorKind.QUOTA})  # by the breaker and the quota's pace
_SETTINGS = {tomtom.SOURCE: "TOMTOM_API_KEY", aqicn.SOURCE: "AQICN_TOKEN"}

Done = Callable[[ObservationMessage | None], None]


class FlowSource(Protocol):
    """What the poller needs of TomTom."""

    def flow(self, latitude: float, longitude: float) -> Flow:
        """Flow at a point. Raises SourceError."""


class ReadingSource(Protocol):
    """What the poller needs of AQICN."""

    def feed(self, station: str) -> Reading:
        """Latest reading of a station. Raises SourceError."""


@dataclass(slots=True, eq=False)
class _Poll:
    """A poll under way: how many sources were asked, and those that have not answered."""

    location: Location
    slot: datetime
    started: float
    done: Done
    waiting: set[str]
    asked: int
    outcomes: dict[str, Flow | Reading | ErrorKind | str] = field(default_factory=dict)


class Poller:
    """Polls locations. Safe to call from several threads.

    A reading older than `stale_after` before the slot is missing. Each API has at most `workers` questions under
    way; one that finds no free thread for `queue_timeout` seconds is not asked, and a half is given up
    `half_timeout` seconds after its poll began, whatever hangs (it should exceed `queue_timeout` and the session's
    total time together). `paces` say per source at which turns it is asked, where not always. `clock` is monotonic
    seconds.
    """

    def __init__(
        self,
        tomtom_client: FlowSource | None,
        aqicn_client: ReadingSource | None,
        stale_after: timedelta,
        *,
        workers: int = 32,
        queue_timeout: float = 10.0,
        half_timeout: float = 40.0,
        paces: Mapping[str, Pace] | None = None,
        breaker: BreakerPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = PollCounters()
        self._tomtom = tomtom_client
        self._aqicn = aqicn_client
        self._stale_after = stale_after
        self._half_timeout = half_timeout
        self._clock = clock
        self._lanes = {
            source: Lane(
                source,
                Breaker(source, setting, clock, breaker or BreakerPolicy()),
                (paces or {}).get(source) or EveryTurn(),
                WorkerPool(workers, source),
                clock,
                queue_timeout,
            )
            for source, setting in _SETTINGS.items()
        }
        self._lock = threading.Lock()
        self._under_way: dict[_Poll, None] = {}  # in order of their beginning
        self._log_lock = threading.Lock()
        self._warned: dict[tuple[str, str], datetime] = {}  # (source, kind): the slot of the last warning
        self._last: dict[tuple[str, str], str] = {}  # (source, location): how its last half went

    def start(self, location: Location, slot: datetime, done: Done, turn: int = 0) -> None:
        """Begin to poll a location at a slot (aware UTC, whole seconds). Does not wait.

        `done` is called once, from any thread, with the observation, or None if neither API gave anything. Only APIs
        that the location has a station or coordinates for are asked. `turn` is the running number of this location's
        slot. Raises ValueError for a bad slot and RuntimeError once closed.
        """
        if slot.tzinfo is None or slot.microsecond:
            raise ValueError(f"a slot is an aware time on a whole second, not {slot!r}")
        slot = slot.astimezone(UTC)
        questions = self._questions(location, slot)
        if not questions:
            done(None)
            return
        poll = _Poll(location, slot, self._clock(), done, set(questions), len(questions))
        with self._lock:
            self._under_way[poll] = None
        for source, question in questions.items():
            self._lanes[source].ask(question, partial(self._settle, poll, source), turn)

    def poll(self, location: Location, slot: datetime) -> ObservationMessage | None:
        """The same, waiting for its end, which the session's total time bounds."""
        result: Future[ObservationMessage | None] = Future()
        self.start(location, slot, result.set_result)
        return result.result()

    def expire(self) -> None:
        """Give up the halves that have taken too long. To be called every second or so."""
        since = self._clock() - self._half_timeout
        overdue = []
        with self._lock:
            for poll in self._under_way:
                if poll.started > since:
                    break
                overdue += [(poll, source) for source in poll.waiting]
        for poll, source in overdue:
            self._settle(poll, source, SourceError(source, ErrorKind.TIMEOUT, "no answer within the time of a poll"))

    def close(self) -> None:
        """Let the threads end. Does not wait for what is under way."""
        for lane in self._lanes.values():
            lane.pool.close()

    def _questions(self, location: Location, slot: datetime) -> dict[str, Callable[[], Flow | Reading]]:
        found: dict[str, Callable[[], Flow | Reading]] = {}
        if self._tomtom is not None and location.latitude is not None and location.longitude is not None:
            found[tomtom.SOURCE] = partial(self._tomtom.flow, location.latitude, location.longitude)
        if self._aqicn is not None and location.aqicn_station is not None:
            found[aqicn.SOURCE] = partial(self._fresh, self._aqicn, location.aqicn_station, slot)
        return found

    def _fresh(self, client: ReadingSource, station: str, slot: datetime) -> Reading:
        """A station's reading, if it is of about now."""
        reading = client.feed(station)
        age = slot - reading.measured_at
        if age > self._stale_after:
            raise SourceError(aqicn.SOURCE, ErrorKind.STALE, f"measured {reading.measured_at.isoformat()}")
        if age < -_MAX_AHEAD:
            raise SourceError(aqicn.SOURCE, ErrorKind.SHAPE, f"measured {-age} after the poll")
        return reading

    def _settle(self, poll: _Poll, source: str, outcome: Flow | Reading | Exception) -> None:
        """One half is there, or is missing. The last one ends the poll; one that was given up before is nothing."""
        with self._lock:
            if source not in poll.waiting:
                return
            poll.waiting.remove(source)
        if isinstance(outcome, Exception):
            self._missing(source, outcome, poll.location, poll.slot)
        else:
            self.counters.add(source, OK)
            with self._log_lock:
                self._last[source, poll.location.name] = OK
        with self._lock:  # once more, so that a poll does not end before all of it is counted
            poll.outcomes[source] = _kind(outcome) if isinstance(outcome, Exception) else outcome
            is_last = len(poll.outcomes) == poll.asked
            if is_last:
                del self._under_way[poll]
        if is_last:
            poll.done(self._observation(poll))

    def _observation(self, poll: _Poll) -> ObservationMessage | None:
        flow, reading = poll.outcomes.get(tomtom.SOURCE), poll.outcomes.get(aqicn.SOURCE)
        if isinstance(flow, Flow) or isinstance(reading, Reading):
            self.counters.add(POLL, PUBLISHABLE)
            return _message(
                poll.location,
                poll.slot,
                flow if isinstance(flow, Flow) else None,
                reading if isinstance(reading, Reading) else None,
            )
        if all(kind == ErrorKind.QUOTA for kind in poll.outcomes.values()):
            self.counters.add(MISSED, ErrorKind.QUOTA)
        else:
            self.counters.add(POLL, FAILED)
        return None

    def _missing(self, source: str, error: Exception, location: Location, slot: datetime) -> None:
        """Count it, and warn where it is news: not the same at this place before, nor at another a moment ago.

        So a station that is out for a day is one line, and an outage of everything is one as well.
        """
        kind = _kind(error)
        self.counters.add(source, kind)
        with self._log_lock:
            warned = self._warned.get((source, kind))
            is_quiet = warned is not None and abs(slot - warned) < _QUIET
            news = self._last.get((source, location.name)) != kind and not is_quiet
            self._last[source, location.name] = kind
            if news:
                self._warned[source, kind] = slot
        level = logging.WARNING if news and kind not in _SAID_ELSEWHERE else logging.DEBUG
        if log.isEnabledFor(level):
            log.log(level, "%s at %s: %s", location.name, slot.isoformat(), _reason(error))


def workers_for(locations: int, interval: timedelta) -> int:
    """Threads for an API that is asked about so many locations an interval.

    Enough where an answer takes half a second; no more than so many, since a core that is busy with 400 threads makes
    a third fewer polls than with 64.
    """
    rate = locations / interval.total_seconds()
    return min(max(math.ceil(rate * _SECONDS_AN_ANSWER), _FEWEST_WORKERS), _MOST_WORKERS)


def _kind(error: Exception) -> str:
    return error.kind if isinstance(error, SourceError) else BUG


def _reason(error: Exception) -> str:
    """What the log says: of a bug of ours its place in the code, since a foreign text might hold the key."""
    if isinstance(error, SourceError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__} at {frame.filename}:{frame.lineno}"


def _message(location: Location, slot: datetime, flow: Flow | None, reading: Reading | None) -> ObservationMessage:
    level = traffic_level(flow.current_speed, flow.free_flow_speed, flow.road_closure) if flow else None
    return ObservationMessage(
        schema_version=SCHEMA_VERSION,
        timestamp=slot,
        location=location.name,
        latitude=location.latitude,
        longitude=location.longitude,
        aqi_value=reading.aqi if reading else None,
        aqi_measured_at=reading.measured_at if reading else None,
        dominant_pollutant=reading.dominant_pollutant if reading else None,
        pollutants=(reading.pollutants or None) if reading else None,
        traffic_level=level,
        current_speed=flow.current_speed if flow else None,
        free_flow_speed=flow.free_flow_speed if flow else None,
        road_closure=flow.road_closure if flow else None,
        attributions=(reading.attributions or None) if reading else None,
    )
