"""When each location is polled: aligned to the interval, spread over it, never caught up. Pure: handed the time.

Location i of n has the phase floor(i * interval / n), in whole seconds; its slots are k * interval + phase since 1970,
UTC. So all slots of all locations form one endless sequence, in which position p is location p mod n in interval
p div n. What has been polled is one number, the last position taken; what is due follows from the clock.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lambda_pipeline.domain.observation import MAX_FUTURE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_TOO_LATE = timedelta(minutes=30)
_MINUTES_A_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Due:
    """One poll to make: the location's number, its slot (UTC), and the slot's running number at this location.

    `turn` is shifted by the location's number, so that of what is done every k-th turn each interval holds a k-th.
    """

    number: int
    slot: datetime
    turn: int


class Schedule:
    """The polls of `count` locations, each once an interval; `now` is when it begins.

    Each location's current slot, if of the last half hour, is due at once, in order of the slots. Raises ValueError
    for an interval that is not a positive whole number of seconds.
    """

    def __init__(self, count: int, interval: timedelta, now: datetime) -> None:
        _check(interval)
        self._interval = interval // _SECOND
        self._phases = [number * self._interval // count for number in range(count)]
        self._taken = self._oldest(now)

    def take(self, now: datetime, most: int) -> tuple[list[Due], int]:
        """Up to `most` polls that are due, the oldest first, and how many slots were missed.

        Missed is a slot whose location's next one has come as well, or which is so long ago that what the APIs say now
        must not be dated to it. A clock that was set back makes nothing due
        until it has caught up; set back further than an observation may lie in the future, what was polled has been
        refused as such, and polling goes on from the new time.
        """
        if not self._phases:
            return [], 0
        last = self._position(now)
        if self._taken > self._position(now + MAX_FUTURE):
            self._taken = last
        missed = max(self._oldest(now) - self._taken, 0)
        self._taken += missed
        first, self._taken = self._taken, max(self._taken, min(last, self._taken + most))
        return [self._due(position) for position in range(first + 1, self._taken + 1)], missed

    def next_slot(self) -> datetime | None:
        """When the next poll is due; not after now where some are left to take. None without locations."""
        return self._due(self._taken + 1).slot if self._phases else None

    def _position(self, now: datetime) -> int:
        """The last position whose slot has come."""
        intervals, seconds = divmod((now - _EPOCH) // _SECOND, self._interval)
        return intervals * len(self._phases) + bisect_right(self._phases, seconds) - 1

    def _oldest(self, now: datetime) -> int:
        """The last position that is past polling."""
        return max(self._position(now) - len(self._phases), self._position(now - _TOO_LATE))

    def _due(self, position: int) -> Due:
        intervals, number = divmod(position, len(self._phases))
        seconds = intervals * self._interval + self._phases[number]
        return Due(number, _EPOCH + timedelta(seconds=seconds), intervals + number)


def aligned_slot(now: datetime, interval: timedelta) -> datetime:
    """The latest slot without a phase at or before `now` (aware): a whole multiple of the interval since 1970, UTC.

    Raises ValueError unless the interval is a positive whole number of seconds.
    """
    _check(interval)
    if now.tzinfo is None:
        raise ValueError("the time must be aware")
    return _EPOCH + (now - _EPOCH) // interval * interval


def default_interval(*demands: tuple[int, int | None]) -> timedelta:
    """Smallest whole number of minutes that keeps every source within its quota in any 24 hours.

    A demand is how many locations ask a source, and its daily requests, None for no limit. Ten locations and TomTom's
    free 2,500: 6 minutes, which are 2,400 requests; the rest is for retries and restarts. Raises ValueError for a
    quota that is not positive.
    """
    return max((_shortest(locations, quota) for locations, quota in demands), default=timedelta(minutes=1))


def _shortest(locations: int, quota: int | None) -> timedelta:
    if quota is None:
        return timedelta(minutes=1)
    if quota < 1:
        raise ValueError(f"a quota must be positive, not {quota}")
    for minutes in range(1, _MINUTES_A_DAY + 1):
        slots = -(-_MINUTES_A_DAY // minutes)  # rounded up: the most that fall into 24 hours
        if slots * locations <= quota:
            return timedelta(minutes=minutes)
    return timedelta(days=-(-locations // quota))


def _check(interval: timedelta) -> None:
    if interval <= timedelta(0) or interval % _SECOND:
        raise ValueError(f"an interval must be a positive whole number of seconds, not {interval}")
