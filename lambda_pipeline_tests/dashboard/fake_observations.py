"""Seeded observations of eight days of Jakarta: the one table that the fake serving layer derives everything from."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.traffic import congestion_ratio, traffic_level
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
    frame = frame.astype({column: dtype for half in HALVES.values() for column, dtype in half.items()})
    fate = random.random(len(frame))  # outages: of all, which are expected and not there, or of one source
    for half, is_lost in (("aqi", (fate > 0.03) & (fate < 0.05)), ("traffic", (fate > 0.05) & (fate < 0.06))):
        for column in HALVES[half]:
            frame[column] = frame[column].mask(is_lost)
    return frame[fate > 0.03].reset_index(drop=True)
