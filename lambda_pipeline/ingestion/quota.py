"""The APIs' daily quotas: how many requests were made today, and how to make the rest of them last.

TomTom's free tier is 2,500 requests a day, at most 10 a second (developer.tomtom.com: store/maps-api and
platform/documentation/default-qps); AQICN has no daily limit but 1,000 requests a second (aqicn.org/api/tos). Neither
says when its day begins: it is taken to be the UTC day.

**Across restarts.** The file holds, for a source with a quota, never less than what was used: a block of requests is
written as used before the first of them is made. A process that is killed has counted at most one block too many (a
250th of the quota), never one request too few. A regular end writes the exact number.
"""

import logging
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

log = logging.getLogger(__name__)

_DAY = timedelta(days=1)
_BLOCKS = 250  # a day's quota is written in so many steps
_RELAX = 1.02  # the interval is shortened again only with so much to spare, so that it does not flicker


class Used(NamedTuple):
    """Requests of today, and how many there may be; `limit` is None for no quota."""

    used: int
    limit: int | None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    day: date
    used: dict[str, int]


class QuotaLedger:
    """Counts requests per source and UTC day, and remembers them at `path`. Safe to share between threads.

    `limits` are the daily quotas; a source without one, or with None, is counted only. `now` is aware. A file of
    another day or one that cannot be read starts at 0. A disk that cannot be written is said once; counting goes on.
    """

    def __init__(self, path: Path, limits: Mapping[str, int | None], now: Callable[[], datetime]) -> None:
        self._path, self._now = path, now
        self._limits = {source: limit for source, limit in limits.items() if limit is not None}
        self._lock = threading.Lock()
        self._day = self._today()
        self._used: Counter[str] = Counter(self._load())
        self._written = dict(self._used)
        self._is_broken = False

    def spend(self, source: str) -> bool:
        """Count one request that is about to be made; False, and nothing counted, where none is left today."""
        with self._lock:
            self._roll()
            limit = self._limits.get(source)
            if limit is not None and self._used[source] >= limit:
                return False
            self._used[source] += 1
            if limit is not None and self._used[source] > self._written.get(source, 0):
                self._save({name: self._reserved(name) for name in self._used})
            return True

    def used(self) -> dict[str, Used]:
        """What was used today, per source."""
        with self._lock:
            self._roll()
            names = self._used.keys() | self._limits.keys()
            return {name: Used(self._used[name], self._limits.get(name)) for name in sorted(names)}

    def left(self, source: str) -> tuple[int | None, timedelta]:
        """Requests left today (None: without limit), and the time until the day ends."""
        with self._lock:
            self._roll()
            limit = self._limits.get(source)
            ends = datetime(self._day.year, self._day.month, self._day.day, tzinfo=UTC) + _DAY
            time_left = min(max(ends - self._now(), timedelta(seconds=1)), _DAY)
            return None if limit is None else max(limit - self._used[source], 0), time_left

    def close(self) -> None:
        """Write the exact numbers."""
        with self._lock:
            self._save(dict(self._used))

    def _today(self) -> date:
        return self._now().astimezone(UTC).date()

    def _roll(self) -> None:
        """Start at 0 on a new day. A clock set back over midnight by a little gives nobody a second quota."""
        today = self._today()
        if today > self._day or today < self._day - _DAY:
            self._day, self._written = today, {}
            self._used.clear()

    def _reserved(self, source: str) -> int:
        limit = self._limits.get(source)
        if limit is None:
            return self._used[source]
        block = max(limit // _BLOCKS, 1)
        return min(-(-self._used[source] // block) * block, limit)

    def _load(self) -> dict[str, int]:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_File)
            if any(number < 0 for number in found.used.values()):
                raise ValueError("a negative number")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            log.warning("%s cannot be read (%s): today's requests are counted from 0.", self._path, error)
            return {}
        if abs(found.day - self._day) > _DAY or found.day < self._day:
            return {}
        self._day = found.day  # today, or tomorrow's where the clock was set back over midnight
        return found.used

    def _save(self, used: dict[str, int]) -> None:
        """Replace the file as a whole, so that whoever reads it sees the old or the new one."""
        self._written = used
        draft = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("wb") as file:
                file.write(msgspec.json.encode(_File(self._day, used)))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as error:
            if not self._is_broken:
                log.error("%s cannot be written (%s): after a restart today's requests count less.", draft, error)
            self._is_broken = True
        else:
            self._is_broken = False


class QuotaPace:
    """Decides at which of its turns a location asks a source, so that the day's requests last until its end.

    `locations` ask the source once an `interval` each. Where what is left of the quota is too little for that, every
    k-th turn only, k as small as can be; with nothing left, none.
    """

    def __init__(self, ledger: QuotaLedger, source: str, locations: int, interval: timedelta) -> None:
        self._ledger, self._source = ledger, source
        self._locations, self._interval = locations, interval
        self._lock = threading.Lock()
        self._every = 1

    def takes(self, turn: int) -> bool:
        """Whether a location asks at this turn. Turns of one location follow each other by one."""
        every = self._stretch()
        return every > 0 and turn % every == 0

    def _stretch(self) -> int:
        """k, or 0 for none at all."""
        left, time_left = self._ledger.left(self._source)
        if left is None:
            return 1
        with self._lock:
            every = self._needed(left, time_left, 1.0)
            if 1 <= every < self._every:
                every = self._needed(left, time_left, _RELAX)
                every = min(every, self._every)
            if every != self._every:
                self._say(every, left)
                self._every = every
            return every

    def _needed(self, left: int, time_left: timedelta, margin: float) -> int:
        if left == 0:
            return 0
        turns = time_left / self._interval * self._locations * margin
        return max(math.ceil(turns / left), 1)

    def _say(self, every: int, left: int) -> None:
        if every == 0:
            log.warning("%s: today's requests are used up; it is asked again tomorrow (UTC).", self._source)
        elif every == 1:
            log.info("%s: %d requests are left today; every poll asks it again.", self._source, left)
        else:
            log.warning(
                "%s: only %d requests are left today; to make them last it is asked at every %d. poll of a location.",
                self._source, left, every,
            )  # fmt: skip
