"""What the page asks of the serving layer, and how: once per refresh, inside one snapshot.

`Serving` is the contract that `lambda_pipeline.serving.layer.ServingLayer` keeps and that a test's fake keeps too.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Protocol

import pandas as pd

from dashboard.formats import is_missing, source_names
from lambda_pipeline.domain.peak_hours import PeakWindow

LIVE_UP_TO = timedelta(minutes=15)
DELAYED_UP_TO = timedelta(minutes=60)


class CityInfo(Protocol):
    """Which city this deployment serves."""

    @property
    def name(self) -> str: ...
    @property
    def timezone(self) -> str: ...
    @property
    def peak_windows(self) -> tuple[PeakWindow, ...]: ...
    @property
    def history_start(self) -> date: ...


class Reads(Protocol):
    """The frames of lambda_pipeline/serving/frames.py; ranges are half-open city dates."""

    def get_combined_heatmap_data(self) -> pd.DataFrame: ...
    def get_peak_hours_analysis(
        self, start: date, end: date, locations: Sequence[str] | None = None
    ) -> pd.DataFrame: ...
    def get_hourly(self, start: date, end: date, locations: Sequence[str] | None = None) -> pd.DataFrame: ...
    def get_statistics(self, start: date, end: date, locations: Sequence[str] | None = None) -> pd.DataFrame: ...
    def get_raw_data(
        self, start: date, end: date, locations: Sequence[str] | None = None, limit: int = 500, offset: int = 0
    ) -> pd.DataFrame: ...
    def get_freshness(self) -> pd.DataFrame: ...


class Serving(Reads, Protocol):
    """The whole serving layer."""

    def city(self) -> CityInfo: ...
    def snapshot(self) -> AbstractContextManager[Reads]: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """What the reader chose: city days from `start` to before `end`; no locations mean all; a page of raw rows."""

    start: date
    end: date
    locations: tuple[str, ...] = ()
    page_size: int = 100
    page: int = 1

    @property
    def wanted(self) -> list[str] | None:
        """Locations as the serving layer takes them."""
        return list(self.locations) or None

    def at_page(self, page_size: int, page: int) -> "Choice":
        """The same days and locations with another page of raw rows."""
        return replace(self, page_size=page_size, page=page)


@dataclass(frozen=True, slots=True)
class Known:
    """What the side offers and thanks: every location's name, and the stations' own sources."""

    names: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PageData:
    """Everything the page shows, read at one instant."""

    conditions: pd.DataFrame  # HEATMAP, of the chosen locations
    hourly: pd.DataFrame
    peaks: pd.DataFrame
    statistics: pd.DataFrame
    raw: pd.DataFrame
    freshness: pd.DataFrame
    known: "Known"
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

    @property
    def total(self) -> int:
        """Observations in the chosen days and locations."""
        city = self.statistics[self.statistics["location"].isna()]
        return int(city["data_points_count"].sum())


def known(conditions: pd.DataFrame) -> Known:
    """From a HEATMAP frame of all locations."""
    sources = {name for cell in conditions["attributions"] for name in source_names(cell)}
    return Known(tuple(sorted(str(name) for name in conditions["location"])), tuple(sorted(sources)))


def read_page(serving: Serving, choice: Choice, now: datetime) -> PageData:
    """Read all frames of a choice in one snapshot. Raises LambdaPipelineError."""
    days, wanted = (choice.start, choice.end), choice.wanted
    with serving.snapshot() as view:
        conditions = view.get_combined_heatmap_data()
        return PageData(
            conditions=conditions[conditions["location"].isin(wanted)] if wanted else conditions,
            hourly=view.get_hourly(*days, wanted),
            peaks=view.get_peak_hours_analysis(*days, wanted),
            statistics=view.get_statistics(*days, wanted),
            raw=view.get_raw_data(*days, wanted, choice.page_size, (choice.page - 1) * choice.page_size),
            freshness=view.get_freshness(),
            known=known(conditions),
            choice=choice,
            read_at=now,
        )


def status(newest: "pd.Timestamp | None", now: datetime) -> str:
    """ "live", "delayed", "stale" or "nothing", by the age of the newest observation."""
    if newest is None:
        return "nothing"
    age = pd.Timestamp(now) - newest
    if age <= LIVE_UP_TO:
        return "live"
    return "delayed" if age <= DELAYED_UP_TO else "stale"
