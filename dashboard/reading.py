"""What the page asks of the serving layer.

`Serving` is the contract that `lambda_pipeline.serving.layer.ServingLayer` keeps and that a test's fake keeps too.
Frames are those of lambda_pipeline/serving/frames.py; ranges are half-open city dates; no locations means all.
"""

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Protocol

import pandas as pd

from dashboard.formats import source_names
from lambda_pipeline.domain.peak_hours import PeakWindow
from lambda_pipeline.serving.raw_choice import EVERYTHING, RawFilter, RawSort

Locations = Sequence[str] | None


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
    """The reads of one snapshot: they agree with each other."""

    def get_combined_heatmap_data(self) -> pd.DataFrame: ...
    def get_hour(self, hour_start: datetime) -> pd.DataFrame: ...
    def get_city_hourly(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame: ...
    def get_observed_peaks(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame: ...
    def get_statistics(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame: ...
    def get_distribution(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame: ...
    def get_raw_data(
        self,
        start: date,
        end: date,
        locations: Locations = None,
        limit: int | None = 500,
        offset: int = 0,
        *,
        where: RawFilter = EVERYTHING,
        sort: RawSort = RawSort.TIMESTAMP,
        descending: bool = True,
    ) -> pd.DataFrame: ...
    def count_raw_data(
        self,
        start: date,
        end: date,
        locations: Locations = None,
        *,
        where: RawFilter = EVERYTHING,
        at_most: int = 100_000,
    ) -> int: ...
    def get_dead_letters(self, limit: int = 100, offset: int = 0) -> pd.DataFrame: ...
    def get_freshness(self) -> pd.DataFrame: ...


class Serving(Protocol):
    """The whole serving layer."""

    def city(self) -> CityInfo: ...
    def snapshot(self) -> AbstractContextManager[Reads]: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """What the reader chose: city days from `start` to before `end`, and locations; none of them means all.

    `own` is what the open tab's own widgets say (`Tab.chosen`), None where it has none. Hashable: equal choices share
    one read.
    """

    start: date
    end: date
    locations: tuple[str, ...] = ()
    own: Hashable = None

    @property
    def wanted(self) -> tuple[str, ...] | None:
        """Locations as the serving layer takes them."""
        return self.locations or None

    def with_own(self, own: Hashable) -> "Choice":
        """The same days and locations with what a tab's own widgets say."""
        return replace(self, own=own)


@dataclass(frozen=True, slots=True)
class Known:
    """What the side offers and thanks: every location's name, and the stations' own sources."""

    names: tuple[str, ...]
    sources: tuple[str, ...]


def known(conditions: pd.DataFrame) -> Known:
    """From a HEATMAP frame of all locations."""
    sources = {name for cell in conditions["attributions"].unique() for name in source_names(cell)}
    return Known(tuple(sorted(str(name) for name in conditions["location"])), tuple(sorted(sources)))
