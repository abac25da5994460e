"""The poller: one poll of one location becomes one observation, from both APIs in parallel.

Whatever one API does, the other's half is still published. A half is missing (null), never zero.
"""

import logging
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.observation import SCHEMA_VERSION, ObservationMessage
from lambda_pipeline.domain.traffic import traffic_level
from lambda_pipeline.ingestion import aqicn, tomtom
from lambda_pipeline.ingestion.aqicn import Reading
from lambda_pipeline.ingestion.http import ErrorKind, SourceError
from lambda_pipeline.ingestion.tomtom import Flow
from lambda_pipeline.ingestion.workers import WorkerPool

log = logging.getLogger(__name__)

POLL = "poll"  # the source under which whole polls are counted
PUBLISHABLE, FAILED, OK, BUG = "publishable", "failed", "ok", "unexpected"
_MINUTES_A_DAY = 24 * 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_AHEAD = timedelta(hours=1)  # a station's clock may be wrong by a little
_T = TypeVar("_T")


class FlowSource(Protocol):
    """What the poller needs of TomTom."""

    def flow(self, latitude: float, longitude: float) -> Flow:
        """Flow at a point. Raises SourceError."""


class ReadingSource(Protocol):
    """What the poller needs of AQICN."""

    def feed(self, station: str) -> Reading:
        """Latest reading of a station. Raises SourceError."""


class PollCounters:
    """Counts per (source, kind): the error kinds and "ok" per API, "publishable" and "failed" for "poll"."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def add(self, source: str, kind: str) -> None:
        """Count one."""
        with self._lock:
            self._counts[source, str(kind)] += 1

    def snapshot(self) -> dict[tuple[str, str], int]:
        """A copy of all counts."""
        with self._lock:
            return dict(self._counts)


class _KeyGate:
    """Says a refused key once, and then lets only a question through every so often, to notice a recovery."""

    def __init__(self, source: str, setting: str, now: Callable[[], datetime], every: timedelta) -> None:
        self._source, self._setting, self._now, self._every = source, setting, now, every
        self._lock = threading.Lock()
        self._ask_again: datetime | None = None

    def may_ask(self) -> bool:
        with self._lock:
            if self._ask_again is None:
                return True
            if self._now() < self._ask_again:
                return False
            self._ask_again = self._now() + self._every
            return True

    def refused(self, detail: str) -> None:
        with self._lock:
            first, self._ask_again = self._ask_again is None, self._now() + self._every
        if first:
            log.error(
                "%s refuses the key (%s): check %s. Its measures stay empty meanwhile; it is asked again every %s.",
                self._source,
                detail,
                self._setting,
                self._every,
            )

    def accepted(self) -> None:
        with self._lock:
            again, self._ask_again = self._ask_again is not None, None
        if again:
            log.info("%s accepts the key of %s again.", self._source, self._setting)


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    gate: _KeyGate


class Poller:
    """Polls locations. Safe to call from several threads.

    A reading older than `stale_after` before the slot is missing. `now` (aware UTC) only times how often a refused
    key is tried. `workers` bounds the questions under way; `half_timeout` (seconds) is when a half is given up,
    whatever hangs; it should exceed the session's total time.
    """

    def __init__(
        self,
        tomtom_client: FlowSource | None,
        aqicn_client: ReadingSource | None,
        stale_after: timedelta,
        now: Callable[[], datetime],
        *,
        workers: int = 32,
        half_timeout: float = 30.0,
        key_retry: timedelta = timedelta(minutes=5),
    ) -> None:
        self.counters = PollCounters()
        self._tomtom = tomtom_client
        self._aqicn = aqicn_client
        self._stale_after = stale_after
        self._half_timeout = half_timeout
        self._pool = WorkerPool(workers, "poller")
        self._flow_source = _Source(tomtom.SOURCE, _KeyGate(tomtom.SOURCE, "TOMTOM_API_KEY", now, key_retry))
        self._air_source = _Source(aqicn.SOURCE, _KeyGate(aqicn.SOURCE, "AQICN_TOKEN", now, key_retry))
        self._warned: dict[tuple[str, str], datetime] = {}  # (source, kind): the slot of the last warning
        self._last: dict[tuple[str, str], str] = {}  # (source, location): how its last half went
        self._log_lock = threading.Lock()

    def poll(self, location: Location, slot: datetime) -> ObservationMessage | None:
        """One observation of a location at a slot (aware UTC, whole seconds), or None if neither API gave anything.

        Only APIs that the location has a station or coordinates for are asked. Raises ValueError for a bad slot.
        """
        if slot.tzinfo is None or slot.microsecond:
            raise ValueError(f"a slot is an aware time on a whole second, not {slot!r}")
        slot = slot.astimezone(UTC)
        flow_future = self._ask_flow(location)
        air_future = self._ask_air(location, slot)
        if flow_future is None and air_future is None:
            return None
        flow = self._half(self._flow_source, flow_future, location, slot)
        reading = self._half(self._air_source, air_future, location, slot)
        if flow is None and reading is None:
            self.counters.add(POLL, FAILED)
            return None
        self.counters.add(POLL, PUBLISHABLE)
        return _message(location, slot, flow, reading)

    def close(self) -> None:
        """Let the threads end. Does not wait for what is under way."""
        self._pool.close()

    def _ask_flow(self, location: Location) -> "Future[Flow] | None":
        client, latitude, longitude = self._tomtom, location.latitude, location.longitude
        if client is None or latitude is None or longitude is None:
            return None
        return self._pool.submit(lambda: self._gated(self._flow_source, lambda: client.flow(latitude, longitude)))

    def _ask_air(self, location: Location, slot: datetime) -> "Future[Reading] | None":
        client, station = self._aqicn, location.aqicn_station
        if client is None or station is None:
            return None

        def ask() -> Reading:
            reading = self._gated(self._air_source, lambda: client.feed(station))
            age = slot - reading.measured_at
            if age > self._stale_after:
                raise SourceError(aqicn.SOURCE, ErrorKind.STALE, f"measured {reading.measured_at.isoformat()}")
            if age < -_MAX_AHEAD:
                raise SourceError(aqicn.SOURCE, ErrorKind.SHAPE, f"measured {-age} after the poll")
            return reading

        return self._pool.submit(ask)

    @staticmethod
    def _gated(source: _Source, ask: Callable[[], _T]) -> _T:
        if not source.gate.may_ask():
            raise SourceError(source.name, ErrorKind.KEY, "not asked, the key was refused")
        try:
            answer = ask()
        except SourceError as error:
            if error.kind is ErrorKind.KEY:
                source.gate.refused(error.detail)
            elif error.kind in (ErrorKind.TOO_FAR, ErrorKind.NO_STATION, ErrorKind.NO_READING):
                source.gate.accepted()  # only a good key gets such an answer
            raise
        source.gate.accepted()
        return answer

    def _half(self, source: _Source, future: "Future[_T] | None", location: Location, slot: datetime) -> _T | None:
        """A half's answer, or None once counted. Nothing that happens in a half gets out of it."""
        if future is None:
            return None
        try:
            answer = future.result(self._half_timeout)
        except SourceError as error:
            self._missing(source.name, error.kind, str(error), location, slot)
        except TimeoutError:
            future.cancel()
            self._missing(source.name, ErrorKind.TIMEOUT, "no answer within the time of a poll", location, slot)
        except Exception as error:
            # A bug of ours; the text of a foreign exception might hold the key, its place in the code does not.
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"unexpected {type(error).__name__} at {frame.filename}:{frame.lineno}"
            self._missing(source.name, BUG, where, location, slot)
        else:
            self.counters.add(source.name, OK)
            with self._log_lock:
                self._last[source.name, location.name] = OK
            return answer
        return None

    def _missing(self, source: str, kind: str, reason: str, location: Location, slot: datetime) -> None:
        """Count it, and warn where it is news: not the same at this place before, nor at another in this slot.

        So a station that is out for a day is one line, and an outage of everything is one as well.
        """
        self.counters.add(source, kind)
        with self._log_lock:
            news = self._last.get((source, location.name)) != kind and self._warned.get((source, kind)) != slot
            self._last[source, location.name] = kind
            if news:
                self._warned[source, kind] = slot
        quiet = kind == ErrorKind.KEY or not news  # a refused key has a line of its own
        level = logging.DEBUG if quiet else logging.WARNING
        log.log(level, "%s at %s: %s", location.name, slot.isoformat(), reason)


def aligned_slot(now: datetime, interval: timedelta) -> datetime:
    """The latest slot at or before `now` (aware): a whole multiple of the interval since 1970, UTC.

    Raises ValueError unless the interval is a positive whole number of seconds.
    """
    if interval <= timedelta(0) or interval % timedelta(seconds=1):
        raise ValueError(f"an interval must be a positive whole number of seconds, not {interval}")
    if now.tzinfo is None:
        raise ValueError("the time must be aware")
    return _EPOCH + (now - _EPOCH) // interval * interval


def default_interval(polled_locations: int, daily_quota: int = 2500) -> timedelta:
    """Smallest whole number of minutes at which so many locations stay within so many requests in any 24 hours.

    Ten locations and TomTom's free 2,500: 6 minutes. Count the locations with coordinates: only they ask TomTom.
    Raises ValueError for a quota that is not positive.
    """
    if daily_quota < 1:
        raise ValueError(f"a quota must be positive, not {daily_quota}")
    for minutes in range(1, _MINUTES_A_DAY + 1):
        slots = -(-_MINUTES_A_DAY // minutes)  # rounded up: the most that fall into 24 hours
        if slots * polled_locations <= daily_quota:
            return timedelta(minutes=minutes)
    return timedelta(days=-(-polled_locations // daily_quota))


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
