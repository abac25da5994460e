"""A `ServingLayer` without a database, whose frames satisfy serving/frames.py exactly.

Everything is derived from one table of observations, so the frames agree with each other as the real ones do.
Variants stand for the states that the dashboard must show: `empty`, `without`, `stale`, `away`.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Self

import numpy as np
import pandas as pd

from lambda_pipeline.domain.air_quality import AQI_BANDS, aqi_category
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.peak_hours import (
    DEFAULT_PEAK_WINDOWS,
    OBSERVED_PEAK_RULES,
    PeakWindow,
    is_peak_hour,
    observed_peaks,
)
from lambda_pipeline.domain.traffic import TRAFFIC_LEVELS, traffic_level_name
from lambda_pipeline.errors import DatabaseUnavailableError
from lambda_pipeline.serving import frames
from lambda_pipeline.serving.raw_choice import EVERYTHING, Half, RawFilter, RawSort
from lambda_pipeline_tests.dashboard.fake_observations import (
    HALVES,
    HOSTILE_NAME,
    NOW,
    PLACES,
    observations,
    typed,
)

Locations = Sequence[str] | None
MEANS = {
    "avg_aqi": "aqi_value",
    "avg_traffic": "traffic_level",
    "avg_speed": "current_speed",
    "avg_congestion_ratio": "congestion_ratio",
}
MEASURES = {"aqi": "avg_aqi", "traffic": "avg_traffic"}
PER_HOUR = 6


@dataclass(frozen=True)
class FakeCity:
    """What `ServingLayer.city()` answers."""

    name: str = "Jakarta"
    timezone: str = "Asia/Jakarta"
    peak_windows: tuple[PeakWindow, ...] = DEFAULT_PEAK_WINDOWS
    history_start: date = date(2025, 1, 1)


@dataclass(eq=False)
class FakeServing:
    """Answers every question of `ServingLayer` from one table of observations."""

    table: pd.DataFrame = field(default_factory=observations)
    places: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(PLACES))
    now: datetime = NOW
    info: FakeCity = field(default_factory=FakeCity)
    is_away: bool = False
    dead_letters: int = 3
    snapshots: int = 0
    asked: list[str] = field(default_factory=list)  # names of the reads, in their order

    @classmethod
    def empty(cls) -> Self:
        """A database in which nothing was observed yet."""
        return cls(table=observations().iloc[:0], dead_letters=0)

    @classmethod
    def without(cls, measure: str) -> Self:
        """One half missing throughout: "aqi" or "traffic"."""
        table = observations()
        for column, dtype in HALVES[measure].items():
            table[column] = pd.Series(None, index=table.index, dtype=dtype)
        return cls(table=table)

    @classmethod
    def stale(cls, behind: timedelta = timedelta(hours=5)) -> Self:
        """Nothing new since `behind` ago."""
        return cls(table=observations(NOW - behind))

    @classmethod
    def hostile(cls) -> Self:
        """A place whose name is markup, a place without coordinates."""
        places = {**dict(list(PLACES.items())[:3]), HOSTILE_NAME: (-6.2, 106.7), "Nowhere": (np.nan, np.nan)}
        return cls(table=observations(places=places), places=places)

    def city(self) -> FakeCity:
        """Name, zone, peak windows."""
        self._asked("city")
        return self.info

    @contextlib.contextmanager
    def snapshot(self) -> Iterator["FakeServing"]:
        """Itself, counted: the page must read once per refresh."""
        self._asked("snapshot")
        self.snapshots += 1
        yield self

    def get_combined_heatmap_data(self) -> pd.DataFrame:
        """HEATMAP: per measure the newest value of every place, and a row for a place that never had one."""
        self._asked("heatmap")
        index = pd.Index(list(self.places), name="location")
        newest = {
            measure: self.table[self.table[column].notna()].groupby("location").tail(1).set_index("location")
            for measure, column in (("aqi", "aqi_value"), ("traffic", "traffic_level"))
        }
        frame = pd.DataFrame(index=index)
        for measure, observed in newest.items():
            latest = observed.reindex(index)
            frame[list(HALVES[measure])] = latest[list(HALVES[measure])]
            frame[f"{measure}_observed_at"] = latest["timestamp"]
            frame[f"{measure}_age_seconds"] = (pd.Timestamp(self.now) - latest["timestamp"]).dt.total_seconds()
        frame["observed_at"] = frame[["aqi_observed_at", "traffic_observed_at"]].max(axis=1)
        frame["age_seconds"] = (pd.Timestamp(self.now) - frame["observed_at"]).dt.total_seconds()
        for column, number in (("latitude", 0), ("longitude", 1)):
            frame[column] = [self.places[name][number] for name in frame.index]
        has_aqi = frame["aqi_value"].notna()
        frame["aqi_category"] = _categories(frame["aqi_value"])
        frame["aqi_measured_at"] = (frame["aqi_observed_at"] - timedelta(minutes=25)).where(has_aqi)
        frame["dominant_pollutant"] = pd.Series("pm25", index=index).where(has_aqi)
        sources = (
            '[{"name":"World Air Quality Index Project","url":"https://waqi.info/"},'
            '{"name":"Dinas Lingkungan Hidup DKI","url":"https://example.org/"}]'
        )
        frame["attributions"] = pd.Series(sources, index=index).where(has_aqi)
        frame["is_peak_hour"] = self._is_peak(CityClock(self.info.timezone).place(self.now)[2])
        frame["layer"] = pd.Series("speed", index=index).where(frame["observed_at"].notna())
        return typed(frame.sort_index().reset_index(), frames.HEATMAP)

    def get_hour(self, hour_start: datetime) -> pd.DataFrame:
        """HOUR: what is served of one hour, by place."""
        self._asked("hour")
        frame = self._hourly(self.table[self.table["hour_start"] == pd.Timestamp(hour_start)])
        for column, number in (("latitude", 0), ("longitude", 1)):
            frame[column] = [self.places[name][number] for name in frame["location"]]
        return typed(frame, frames.HOUR)

    def get_hourly(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """HOURLY of the half-open range of city dates."""
        self._asked("hourly")
        return typed(self._hourly(self._range(start, end, locations)), frames.HOURLY)

    def get_city_hourly(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """CITY_HOURLY of the half-open range of city dates."""
        self._asked("city_hourly")
        hourly = self._hourly(self._range(start, end, locations))
        frame = self._grouped(self._range(start, end, locations), ["hour_start", "city_date", "hour"])
        frame["expected_count"] = [
            hourly.loc[hourly["hour_start"] == hour, "expected_count"].sum(min_count=1) for hour in frame["hour_start"]
        ]
        frame["is_weekend"] = frame["date"].dt.day_of_week >= 5
        return typed(frame, frames.CITY_HOURLY)

    def get_peak_hours_analysis(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """PEAK_HOURS of the half-open range of city dates."""
        frame = self.get_hourly(start, end, locations).rename(
            columns={
                "avg_traffic": "avg_traffic_level",
                "avg_aqi": "avg_aqi_value",
                "data_points_count": "total_records",
            }
        )
        frame["is_weekend"] = frame["date"].dt.day_of_week >= 5
        return typed(frame, frames.PEAK_HOURS)

    def get_observed_peaks(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """OBSERVED_PEAKS: the average weekday and weekend day of every place, judged by the domain's rule."""
        self._asked("observed_peaks")
        rows = self._range(start, end, locations)
        rows = rows.assign(is_weekend=rows["city_date"].dt.day_of_week >= 5)
        frame = self._grouped(rows, ["location", "is_weekend", "hour"])
        days = rows.groupby(["location", "is_weekend", "hour"], as_index=False)["city_date"].nunique()
        frame["days"] = days["city_date"]
        for rule in OBSERVED_PEAK_RULES:
            frame[f"is_{rule.measure}_peak"] = False
            for _, part in frame.groupby(["location", "is_weekend"]):
                known = part[part[f"{rule.measure}_count"] > 0]
                columns = (known["hour"], known[f"avg_{rule.measure}"], known["days"])
                profile = {int(hour): (float(mean), int(n)) for hour, mean, n in zip(*columns, strict=True)}
                frame.loc[part.index, f"is_{rule.measure}_peak"] = part["hour"].isin(observed_peaks(profile, rule))
        return typed(frame, frames.OBSERVED_PEAKS)

    def get_distribution(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """DISTRIBUTION of the hourly averages over the bands."""
        self._asked("distribution")
        hourly = self._hourly(self._range(start, end, locations))
        rows = []
        names = {"aqi": [band.category for band in AQI_BANDS], "traffic": [level.name for level in TRAFFIC_LEVELS]}
        for measure, band_of in (("aqi", aqi_category), ("traffic", traffic_level_name)):
            found = [band_of(float(value)) for value in hourly[f"avg_{measure}"].dropna()]
            for rank, name in enumerate(names[measure], 1):
                rows.append({"measure": measure, "band": name, "rank": rank, "hours": found.count(name)})
        return typed(pd.DataFrame(rows), frames.DISTRIBUTION)

    def get_statistics(self, start: date, end: date, locations: Locations = None) -> pd.DataFrame:
        """STATISTICS: the whole city first, then one row per place."""
        self._asked("statistics")
        observed = self._range(start, end, locations)
        hourly, rows = self._hourly(observed), []
        whole: list[tuple[str | None, pd.DataFrame]] = [(None, observed)] if len(observed) else []
        for name, part in [*whole, *((str(key), part) for key, part in observed.groupby("location"))]:
            is_peak = pd.Series([self._is_peak(hour) for hour in part["hour"]], index=part.index)
            row: dict[str, object] = {"location": name, "avg_speed": part["current_speed"].mean()}
            for measure, column in (("aqi", "aqi_value"), ("traffic", "traffic_level")):
                row[f"avg_{measure}"] = _mean(part[column])
                row[f"peak_avg_{measure}"] = _mean(part.loc[is_peak, column])
                row[f"off_peak_avg_{measure}"] = _mean(part.loc[~is_peak, column])
                row[f"min_{measure}"], row[f"max_{measure}"] = part[column].min(), part[column].max()
                row[f"{measure}_count"] = part[column].count()
            row["aqi_category"] = aqi_category(row["avg_aqi"])  # type: ignore[arg-type]
            row["data_points_count"] = len(part)
            of = hourly if name is None else hourly[hourly["location"] == name]
            row["expected_count"] = of["expected_count"].sum(min_count=1)
            rows.append(row)
        return typed(pd.DataFrame(rows, columns=list(frames.STATISTICS)), frames.STATISTICS)

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
    ) -> pd.DataFrame:
        """RAW of a filter, sorted; equal values by time, newest first, then by place; missing values last."""
        self._asked("raw")
        frame = self._raw(start, end, locations, where)
        frame = frame.sort_values(["timestamp", "location"], ascending=[False, True])
        frame = frame.sort_values(str(sort), ascending=not descending, kind="stable", na_position="last")
        return typed(frame.iloc[offset : None if limit is None else offset + limit], frames.RAW)

    def count_raw_data(
        self,
        start: date,
        end: date,
        locations: Locations = None,
        *,
        where: RawFilter = EVERYTHING,
        at_most: int = 100_000,
    ) -> int:
        """How many rows match, at most one more than `at_most`."""
        self._asked("count")
        return min(len(self._raw(start, end, locations, where)), at_most + 1)

    def get_dead_letters(self, limit: int = 100, offset: int = 0) -> pd.DataFrame:
        """DEAD_LETTERS, newest first."""
        self._asked("dead_letters")
        numbers = list(range(self.dead_letters, 0, -1))[offset : offset + limit]
        payload = '{"schema_version": 1, "aqi_value": "<b>61</b>"}'
        rows = [
            {
                "position": f"traffic-aqi-data[{number % 3}]@{1000 + number}",
                "appended_at": self.now - timedelta(hours=self.dead_letters - number, minutes=3),
                "error": "aqi_value: expected an integer, got a string",
                "key": "Krukut",
                "payload": payload,
                "payload_bytes": len(payload),
            }
            for number in numbers
        ]
        return typed(pd.DataFrame(rows, columns=list(frames.DEAD_LETTERS)), frames.DEAD_LETTERS)

    def get_freshness(self) -> pd.DataFrame:
        """FRESHNESS: speed, then batch."""
        self._asked("freshness")
        layers = self._layers(self.table["hour_start"]).replace("both", "speed")
        rows = []
        for layer in ("speed", "batch"):
            part = self.table[layers == layer]
            newest = part["timestamp"].max() if len(part) else pd.NaT
            rows.append(
                {
                    "layer": layer,
                    "newest_observation": newest,
                    "age_seconds": (self.now - newest).total_seconds(),
                    "updated_at": newest + timedelta(seconds=2),
                    "observations": len(part),
                    "hours": part["hour_start"].nunique(),
                    "dead_letters": self.dead_letters,
                }
            )
        return typed(pd.DataFrame(rows), frames.FRESHNESS)

    def _asked(self, what: str) -> None:
        if self.is_away:
            raise DatabaseUnavailableError("PostgreSQL does not answer.", "It is tried again by itself.")
        self.asked.append(what)

    def _is_peak(self, hour: int) -> bool:
        return is_peak_hour(int(hour), self.info.peak_windows)

    def _range(self, start: date, end: date, locations: Locations) -> pd.DataFrame:
        days = self.table["city_date"]
        wanted = (days >= pd.Timestamp(start)) & (days < pd.Timestamp(end))
        if locations is not None:
            wanted &= self.table["location"].isin(list(locations))
        return self.table[wanted]

    def _grouped(self, rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
        """Averages, extremes and counts per group, as the real layer aggregates: missing measures left out."""
        numbers = rows[keys].assign(**{name: rows[column].astype("float64") for name, column in MEANS.items()})
        grouped = numbers.groupby(keys, sort=True)
        frame = grouped.mean()
        for measure, mean in MEASURES.items():
            frame[f"min_{measure}"], frame[f"max_{measure}"] = grouped[mean].min(), grouped[mean].max()
            frame[f"{measure}_count"] = grouped[mean].count()
        frame["data_points_count"] = grouped.size()
        frame = frame.reset_index().rename(columns={"city_date": "date"})
        frame["aqi_category"] = _categories(frame["avg_aqi"])
        frame["is_peak_hour"] = [self._is_peak(hour) for hour in frame["hour"]]
        if "hour_start" in frame:
            frame["layer"] = self._layers(frame["hour_start"])
        return frame

    def _hourly(self, rows: pd.DataFrame) -> pd.DataFrame:
        frame = self._grouped(rows, ["hour_start", "city_date", "hour", "location"])
        expected = pd.Series(PER_HOUR, index=frame.index, dtype="Int64")
        return frame.assign(expected_count=expected.where(frame["layer"] != "speed"))

    def _raw(self, start: date, end: date, locations: Locations, where: RawFilter) -> pd.DataFrame:
        frame = self._range(start, end, locations).copy()
        frame["aqi_category"] = _categories(frame["aqi_value"])
        frame["is_peak_hour"] = pd.Series(
            [self._is_peak(hour) for hour in frame["hour"]], index=frame.index, dtype=bool
        )
        frame["layer"] = self._layers(frame["hour_start"]).replace("both", "speed")
        if where.layers:
            frame = frame[frame["layer"].isin(where.layers)]
        if where.aqi_categories:
            frame = frame[frame["aqi_category"].isin(where.aqi_categories)]
        if where.traffic_levels:
            frame = frame[frame["traffic_level"].isin(where.traffic_levels)]
        if where.missing is not None:
            frame = frame[frame["aqi_value" if where.missing is Half.AQI else "traffic_level"].isna()]
        if where.is_peak_hour is not None:
            frame = frame[frame["is_peak_hour"] == where.is_peak_hour]
        return frame

    def _layers(self, hours: "pd.Series[pd.Timestamp]") -> "pd.Series[str]":
        """Batch up to the newest hour but one, then both, then speed."""
        newest = self.table["hour_start"].max()
        cut = pd.Series("batch", index=hours.index, dtype="str")
        return cut.mask(hours >= newest - timedelta(hours=1), "both").mask(hours >= newest, "speed")


def _categories(values: pd.Series) -> "pd.Series[str]":
    return pd.Series(
        [aqi_category(None if pd.isna(value) else float(value)) for value in values], index=values.index, dtype="str"
    )


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if values.count() else float("nan")
