"""One refresh of the page: everything that it shows, read in one snapshot, once for all who look at the same.

Readers of the same choice share what one of them read within a refresh interval (`SharedReads`); within the snapshot
every question is asked once, however many parts of the page need its answer (`ReadOnce`). Frames are shared between
sessions, so nobody changes one in place. Errors are never kept: whoever asks next asks the database.
"""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import pandas as pd

from dashboard.context import Context
from dashboard.formats import is_missing
from dashboard.reading import Choice, CityInfo, Known, Reads, Serving, known
from dashboard.tabs import Tab

LIVE_UP_TO: Final = timedelta(minutes=15)
DELAYED_UP_TO: Final = timedelta(minutes=60)
HOUR: Final = timedelta(hours=1)
KNOWN_FOR: Final = timedelta(minutes=1)  # names and sources change seldom, and a big city has many
KEPT_READS: Final = 32  # of different choices, the newest


@dataclass(frozen=True, slots=True)
class Refresh:
    """What the page shows, as of one instant."""

    freshness: pd.DataFrame
    hours: pd.DataFrame  # CITY_HOURLY of the choice
    tab: str
    tab_data: Any  # what the tab's own `read` returned
    choice: Choice
    read_at: datetime

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever observed."""
        return int(self.freshness["observations"].sum()) == 0

    @property
    def newest(self) -> "pd.Timestamp | None":
        """Instant of the newest observation of either layer."""
        newest = self.freshness["newest_observation"].max()
        return None if is_missing(newest) else newest


def status(newest: "pd.Timestamp | None", now: datetime) -> str:
    """ "live", "delayed", "stale" or "nothing", by the age of the newest observation."""
    if newest is None:
        return "nothing"
    age = pd.Timestamp(now) - newest
    if age <= LIVE_UP_TO:
        return "live"
    return "delayed" if age <= DELAYED_UP_TO else "stale"


class ReadOnce:
    """The reads of a snapshot, each question asked once. Arguments must be hashable."""

    def __init__(self, view: Reads) -> None:
        self._view = view
        self._answers: dict[Hashable, Any] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        read = getattr(self._view, name)

        def once(*args: Hashable, **kwargs: Hashable) -> Any:
            key = (name, args, tuple(sorted(kwargs.items())))
            if key not in self._answers:
                self._answers[key] = read(*args, **kwargs)
            return self._answers[key]

        return once


class SharedReads:
    """What was read of one database lately. Safe between threads; those who ask for the same at once wait for one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reads: dict[Hashable, tuple[datetime, Future[Refresh]]] = {}
        self._known: tuple[datetime, Known] | None = None
        self._city: CityInfo | None = None

    def refresh(self, serving: Serving, tab: Tab[Any], choice: Choice, context: Context) -> Refresh:
        """The page of a choice, at most nine tenths of a refresh interval old. Raises what reading raises.

        Not a whole interval, or a page whose timer is a little early would wait for two.
        """
        key, lifetime = (tab.key, choice), timedelta(seconds=0.9 * context.options.refresh_seconds)
        with self._lock:
            at, future = self._reads.get(key, (context.now, None))
            is_mine = future is None or not timedelta() <= context.now - at < lifetime
            if is_mine:
                future = Future()
                self._reads.pop(key, None)
                self._reads[key] = (context.now, future)
                while len(self._reads) > KEPT_READS:
                    del self._reads[next(iter(self._reads))]
        assert future is not None  # noqa: S101 - for the type checker
        if is_mine:
            self._fill(key, future, lambda: self._read(serving, tab, choice, context))
        return future.result()

    def known(self, serving: Serving, now: datetime) -> Known:
        """Names and sources, at most a minute old, or older while they cannot be read. Raises what reading raises."""
        if self._is_known_old(now):
            try:
                with serving.snapshot() as view:
                    self._known = (now, known(view.get_combined_heatmap_data()))
            except Exception:
                if self._known is None:
                    raise
        return self._known[1]  # type: ignore[index]

    @property
    def newest_known(self) -> Known | None:
        """Names and sources as they were read last, for whatever choice."""
        return None if self._known is None else self._known[1]

    def city(self, serving: Serving) -> CityInfo:
        """Whose data this is, read once: a database belongs to one city. Raises what reading raises."""
        if self._city is None:
            self._city = serving.city()
        return self._city

    def _fill(self, key: Hashable, future: "Future[Refresh]", read: Callable[[], Refresh]) -> None:
        try:
            future.set_result(read())
        except BaseException as error:
            with self._lock:
                if self._reads.get(key, (None, None))[1] is future:
                    del self._reads[key]
            future.set_exception(error)

    def _read(self, serving: Serving, tab: Tab[Any], choice: Choice, context: Context) -> Refresh:
        with serving.snapshot() as snapshot:
            view = cast("Reads", ReadOnce(snapshot))
            if self._is_known_old(context.now):
                self._known = (context.now, known(view.get_combined_heatmap_data()))
            return Refresh(
                freshness=view.get_freshness(),
                hours=view.get_city_hourly(choice.start, choice.end, choice.wanted),
                tab=tab.key,
                tab_data=tab.read(view, choice, context),
                choice=choice,
                read_at=context.now,
            )

    def _is_known_old(self, now: datetime) -> bool:
        return self._known is None or not timedelta() <= now - self._known[0] < KNOWN_FOR


_shared: "WeakKeyDictionary[Serving, SharedReads]" = WeakKeyDictionary()
_shared_lock = threading.Lock()


def shared_reads(serving: Serving) -> SharedReads:
    """The reads of this serving layer, which all sessions of the process share."""
    with _shared_lock:
        return _shared.setdefault(serving, SharedReads())
