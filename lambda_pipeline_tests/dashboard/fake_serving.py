"""A `ServingLayer` without a database: seeded frames of seven days of Jakarta that satisfy serving/frames.py exactly.

Everything is derived from one table of observations, so the frames agree with each other as the real ones do.
Variants stand for the states that the dashboard must show: `empty`, `without`, `stale`, `away`.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Self

import numpy as np
import pandas as pd

from lambda_pipeline.domain.air_quality import aqi_category
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.peak_hours import DEFAULT_PEAK_WINDOWS, PeakWindow, is_peak_hour
from lambda_pipeline.domain.traffic import congestion_ratio, traffic_level
from lambda_pipeline.errors import DatabaseUnavailableError
from lambda_pipeline.serving import frames

NOW = datetime(2026, 3, 12, 7, 42, tzinfo=UTC)  # a Thursday, 14:42 in Jakarta
SLOT = timedelta(minutes=10)
PLACES: dict[str, tuple[float, float]] = {
    "Kebon Sirih": (-6.1861, 106.8236),
    "Krukut": (-6.1593, 106.8180),
    "GBK, Gelora": (-6.2154, 106.8030),
    "Jakarta Timur Kebon Nanas": (-6.2338, 106.8769),
    "Tangerang Benteng Betawi": (-6.1756, 106.6449),
    "Kedoya Utara": (-6.1714, 106.7622),
    "Grogol Utara": (-6.2224, 106.7883),
    "Gunung": (-6.2373, 106.7861),
    "Cinere": (-6.3498, 106.7782),
    "Kemayoran": (-6.1911, 106.8491),
}
HALVES = {
    "aqi": {"aqi_value": "Int64", "pollutants": "str"},
    "traffic": {
        "traffic_level": "Int64",
        "current_speed": "float64",
        "free_flow_speed": "float64",
        "congestion_ratio": "float64",
        "road_closure": "boolean",
    },
}
HOSTILE_NAME = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) :red[y] **b** $a$"


@dataclass(frozen=True)
class FakeCity:
    """What `ServingLayer.city()` answers."""

    name: str = "Jakarta"
    timezone: str = "Asia/Jakarta"
    peak_windows: tuple[PeakWindow, ...] = DEFAULT_PEAK_WINDOWS
    history_start: date = date(2025, 1, 1)


def typed(frame: pd.DataFrame, spec: Mapping[str, str]) -> pd.DataFrame:
    """The frame with exactly the columns and dtypes of a spec; columns that are absent are missing throughout."""
    frame = frame.reindex(columns=list(spec)).reset_index(drop=True)
    for column, dtype in spec.items():
        if dtype == "float64":
            frame[column] = pd.to_numeric(frame[column], errors="coerce")
        elif dtype == frames.INSTANT:
            frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame.astype(dict(spec))


def observations(
    now: datetime = NOW, days: int = 8, places: Mapping[str, tuple[float, float]] = PLACES, seed: int = 7
) -> pd.DataFrame:
    """One row per slot and place, oldest first: commuters' rush hours in city time, and an AQI that lags traffic."""
    clock, random = CityClock("Asia/Jakarta"), np.random.default_rng(seed)
    end = datetime.fromtimestamp(now.timestamp() // SLOT.total_seconds() * SLOT.total_seconds(), UTC)
    slots = pd.date_range(end - timedelta(days=days), end, freq=SLOT, tz="UTC")
    local = slots.tz_convert(clock.zone)
    hour = (local.hour + local.minute / 60).to_numpy()
    weekday = np.where(local.day_of_week.to_numpy() < 5, 1.0, 0.45)

    def rush(at: np.ndarray) -> np.ndarray:
        return np.exp(-(((at - 7.7) / 1.5) ** 2)) + 1.15 * np.exp(-(((at - 17.8) / 1.9) ** 2))

    parts = []
    for number, (name, (latitude, longitude)) in enumerate(places.items()):
        character = 0.8 + 0.45 * random.random()
        lost = np.clip(weekday * character * 0.55 * rush(hour) + 0.1 + random.normal(0, 0.06, len(slots)), -0.05, 0.93)
        free_flow = float(35 + 3 * (number % 7))
        current = np.round(free_flow * (1 - lost), 0)
        aqi = 58 + 14 * (number % 5) + 46 * weekday * rush(hour - 1.5) + random.normal(0, 9, len(slots))
        parts.append(
            pd.DataFrame(
                {
                    "timestamp": slots,
                    "location": name,
                    "latitude": latitude,
                    "longitude": longitude,
                    "aqi_value": np.clip(np.round(aqi), 0, 500).astype(int),
                    "current_speed": current,
                    "free_flow_speed": free_flow,
                    "city_date": local.tz_localize(None).normalize(),
                    "hour": local.hour,
                    "hour_start": slots.floor("h"),
                }
            )
        )
    frame = pd.concat(parts, ignore_index=True)
    pairs = list(zip(frame["current_speed"], frame["free_flow_speed"], strict=True))
    frame["traffic_level"] = [traffic_level(*pair) for pair in pairs]
    frame["congestion_ratio"] = [congestion_ratio(*pair) for pair in pairs]
    frame["pollutants"] = '{"pm25":' + frame["aqi_value"].astype(str) + ',"pm10":41,"no2":7.4}'
    frame["source"] = "aqicn+tomtom"
    frame["road_closure"] = False
    lost_slot = random.random(len(frame)) < 0.03  # outages: expected, and not there
    return frame[~lost_slot].astype({"aqi_value": "Int64", "traffic_level": "Int64"}).reset_index(drop=True)


@dataclass
class FakeServing:
    """Answers every question of `ServingLayer` from one table of observations."""

    table: pd.DataFrame = field(default_factory=observations)
    places: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(PLACES))
    now: datetime = NOW
    info: FakeCity = field(default_factory=FakeCity)
    is_away: bool = False
    dead_letters: int = 3
    snapshots: int = 0

    @classmethod
    def empty(cls) -> Self:
        """A database in which nothing was observed yet."""
        return cls(table=observations().iloc[:0])

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
        self._check()
        return self.info

    @contextlib.contextmanager
    def snapshot(self) -> Iterator["FakeServing"]:
        """Itself, counted: the page must read once per refresh."""
        self._check()
        self.snapshots += 1
        yield self

    def get_combined_heatmap_data(self) -> pd.DataFrame:
        """HEATMAP: the newest observation of every place, and a row for a place that never had one."""
        self._check()
        latest = self.table.groupby("location", sort=False).tail(1).set_index("location")
        frame = latest.reindex(list(self.places)).rename_axis("location").reset_index()
        for column, index in (("latitude", 0), ("longitude", 1)):
            frame[column] = [self.places[name][index] for name in frame["location"]]
        age = (pd.Timestamp(self.now) - frame["timestamp"]).dt.total_seconds()
        has_aqi, has_traffic = frame["aqi_value"].notna(), frame["traffic_level"].notna()
        frame["observed_at"], frame["age_seconds"] = frame["timestamp"], age
        frame["aqi_category"] = _categories(frame["aqi_value"])
        for measure, has in (("aqi", has_aqi), ("traffic", has_traffic)):
            frame[f"{measure}_observed_at"] = frame["timestamp"].where(has)
            frame[f"{measure}_age_seconds"] = age.where(has)
        frame["aqi_measured_at"] = (frame["timestamp"] - timedelta(minutes=25)).where(has_aqi)
        frame["dominant_pollutant"] = pd.Series("pm25", index=frame.index).where(has_aqi)
        sources = (
            '[{"name":"World Air Quality Index Project","url":"https://waqi.info/"},'
            '{"name":"Dinas Lingkungan Hidup DKI","url":"https://example.org/"}]'
        )
        frame["attributions"] = pd.Series(sources, index=frame.index).where(has_aqi)
        frame["is_peak_hour"] = self._is_peak(CityClock(self.info.timezone).place(self.now)[2])
        frame["layer"] = pd.Series("speed", index=frame.index).where(frame["timestamp"].notna())
        return typed(frame, frames.HEATMAP)

    def get_hourly(self, start: date, end: date, locations: Sequence[str] | None = None) -> pd.DataFrame:
        """HOURLY of the half-open range of city dates."""
        self._check()
        rows = self._range(start, end, locations)
        keys = ["hour_start", "city_date", "hour", "location"]
        means = {
            "avg_aqi": "aqi_value",
            "avg_traffic": "traffic_level",
            "avg_speed": "current_speed",
            "avg_congestion_ratio": "congestion_ratio",
        }
        numbers = rows[keys].assign(
            **{name: pd.to_numeric(rows[column], errors="coerce").astype("float64") for name, column in means.items()}
        )
        grouped = numbers.groupby(keys, sort=True)
        frame = grouped.mean()
        for measure, mean in (("aqi", "avg_aqi"), ("traffic", "avg_traffic")):
            frame[f"min_{measure}"], frame[f"max_{measure}"] = grouped[mean].min(), grouped[mean].max()
            frame[f"{measure}_count"] = grouped[mean].count()
        frame["data_points_count"] = grouped.size()
        frame = frame.reset_index().rename(columns={"city_date": "date"})
        frame["layer"] = self._layers(frame["hour_start"])
        frame["expected_count"] = pd.Series(6, index=frame.index, dtype="Int64").where(frame["layer"] != "speed")
        frame["aqi_category"] = _categories(frame["avg_aqi"])
        frame["is_peak_hour"] = [self._is_peak(hour) for hour in frame["hour"]]
        return typed(frame, frames.HOURLY)

    def get_peak_hours_analysis(self, start: date, end: date, locations: Sequence[str] | None = None) -> pd.DataFrame:
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

    def get_statistics(self, start: date, end: date, locations: Sequence[str] | None = None) -> pd.DataFrame:
        """STATISTICS: the whole city first, then one row per place."""
        hourly, rows = self.get_hourly(start, end, locations), []
        whole: list[tuple[str | None, pd.DataFrame]] = [(None, hourly)] if len(hourly) else []
        for name, part in [*whole, *((str(key), part) for key, part in hourly.groupby("location"))]:
            row: dict[str, object] = {"location": name, "avg_speed": part["avg_speed"].mean()}
            for measure in ("aqi", "traffic"):
                row[f"avg_{measure}"] = _mean(part, measure)
                row[f"peak_avg_{measure}"] = _mean(part[part["is_peak_hour"]], measure)
                row[f"off_peak_avg_{measure}"] = _mean(part[~part["is_peak_hour"]], measure)
                row[f"min_{measure}"] = part[f"min_{measure}"].min()
                row[f"max_{measure}"] = part[f"max_{measure}"].max()
                row[f"{measure}_count"] = part[f"{measure}_count"].sum()
            row["aqi_category"] = aqi_category(row["avg_aqi"])  # type: ignore[arg-type]
            row["data_points_count"] = part["data_points_count"].sum()
            row["expected_count"] = part["expected_count"].sum(min_count=1)
            rows.append(row)
        return typed(pd.DataFrame(rows, columns=list(frames.STATISTICS)), frames.STATISTICS)

    def get_raw_data(
        self, start: date, end: date, locations: Sequence[str] | None = None, limit: int = 500, offset: int = 0
    ) -> pd.DataFrame:
        """RAW, newest first."""
        self._check()
        frame = self._range(start, end, locations).sort_values(["timestamp", "location"], ascending=[False, True])
        frame = frame.iloc[offset : offset + limit].copy()
        frame["aqi_category"] = _categories(frame["aqi_value"])
        frame["is_peak_hour"] = [self._is_peak(hour) for hour in frame["hour"]]
        frame["layer"] = self._layers(frame["hour_start"]).replace("both", "speed")
        return typed(frame, frames.RAW)

    def get_freshness(self) -> pd.DataFrame:
        """FRESHNESS: speed, then batch."""
        self._check()
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

    def _check(self) -> None:
        if self.is_away:
            raise DatabaseUnavailableError("PostgreSQL does not answer.", "It is tried again by itself.")

    def _is_peak(self, hour: int) -> bool:
        return is_peak_hour(int(hour), self.info.peak_windows)

    def _range(self, start: date, end: date, locations: Sequence[str] | None) -> pd.DataFrame:
        days = self.table["city_date"]
        wanted = (days >= pd.Timestamp(start)) & (days < pd.Timestamp(end))
        if locations is not None:
            wanted &= self.table["location"].isin(list(locations))
        return self.table[wanted]

    def _layers(self, hours: "pd.Series[pd.Timestamp]") -> "pd.Series[str]":
        """Batch up to the newest hour but one, then both, then speed."""
        newest = self.table["hour_start"].max()
        cut = pd.Series("batch", index=hours.index, dtype="str")
        return cut.mask(hours >= newest - timedelta(hours=1), "both").mask(hours >= newest, "speed")


def _categories(values: pd.Series) -> "pd.Series[str]":
    return pd.Series(
        [aqi_category(None if pd.isna(value) else float(value)) for value in values], index=values.index, dtype="str"
    )


def _mean(part: pd.DataFrame, measure: str) -> float:
    counts = part[f"{measure}_count"]
    total = float(counts.sum())
    return float((part[f"avg_{measure}"] * counts).sum() / total) if total else float("nan")
