"""Observations and dead letters as tables on the screen: RAW and DEAD_LETTERS in, words and city times out.

What is downloaded is not this but the frames themselves.
"""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.context import Context
from dashboard.measures import TRAFFIC
from dashboard.texts import Texts

COLUMNS = (
    "timestamp", "location", "layer", "aqi_value", "aqi_category", "traffic_level", "current_speed",
    "free_flow_speed", "halves", "is_peak_hour", "road_closure", "pollutants", "source", "latitude", "longitude",
)  # fmt: skip
WIDTHS = {"location": 170, "aqi_category": 230}  # pixels
NUMBERS = ("aqi_value", "current_speed", "free_flow_speed", "latitude", "longitude")


def observations(raw: pd.DataFrame, context: Context) -> pd.DataFrame:
    """A row per observation: everything as text, missing values missing, and which half is missing in words."""
    t, units = context.texts, context.units
    has_aqi, has_traffic = raw["aqi_value"].notna(), raw["traffic_level"].notna()
    halves = [_halves(*has, t) for has in zip(has_aqi, has_traffic, strict=True)]
    return pd.DataFrame(
        {
            "timestamp": _times(raw["timestamp"], context),
            "location": raw["location"],
            "layer": [t(f"layer.{layer}") for layer in raw["layer"]],
            "aqi_value": _numbers(raw["aqi_value"], t),
            "aqi_category": [
                t(f"category.{name}") if has else None for name, has in _pairs(raw, "aqi_category", has_aqi)
            ],
            "traffic_level": [
                TRAFFIC.band_of(int(level), t).label if has else None
                for level, has in _pairs(raw, "traffic_level", has_traffic)
            ],
            "current_speed": _numbers(units.speed(raw["current_speed"]), t, 1),
            "free_flow_speed": _numbers(units.speed(raw["free_flow_speed"]), t, 1),
            "halves": halves,
            "is_peak_hour": [t("hover.peak" if is_peak else "hover.off_peak") for is_peak in raw["is_peak_hour"]],
            "road_closure": [
                None if formats.is_missing(closed) else t("yes" if closed else "no") for closed in raw["road_closure"]
            ],
            "pollutants": [formats.pollutants(cell) or None for cell in raw["pollutants"]],
            "source": raw["source"],
            "latitude": _numbers(raw["latitude"], t, 4),
            "longitude": _numbers(raw["longitude"], t, 4),
        }
    )


def columns(context: Context) -> dict[str, Any]:
    """How Streamlit heads and places the columns of `observations`."""
    t = context.texts
    unit = context.units.name(t)
    return {
        name: st.column_config.TextColumn(
            t("raw.time", zone=context.zone) if name == "timestamp" else t(f"column.{name}", unit=unit),
            pinned=name == "timestamp",
            width=WIDTHS.get(name),
            alignment="right" if name in NUMBERS else "left",
        )
        for name in COLUMNS
    }


def dead_letters(letters: pd.DataFrame, context: Context) -> pd.DataFrame:
    """A row per message that could not be read, its columns named."""
    t = context.texts
    return pd.DataFrame(
        {
            t("column.position"): letters["position"],
            t("column.appended_at", zone=context.zone): _times(letters["appended_at"], context),
            t("column.error"): letters["error"],
            t("column.key"): letters["key"],
            t("column.payload"): letters["payload"],
            t("column.payload_bytes"): _numbers(letters["payload_bytes"], t),
        }
    )


def _times(instants: "pd.Series[pd.Timestamp]", context: Context) -> "pd.Series[str]":
    return instants.dt.tz_convert(context.clock.zone).dt.strftime("%Y-%m-%d %H:%M:%S")


def _numbers(values: "pd.Series[Any]", t: Texts, decimals: int = 0) -> list[str | None]:
    return [None if formats.is_missing(value) else t.number(value, decimals) for value in values]


def _halves(has_aqi: bool, has_traffic: bool, t: Texts) -> str:
    if has_aqi and has_traffic:
        return t("halves.both")
    return t("halves.no_aqi" if has_traffic else "halves.no_traffic")


def _pairs(raw: pd.DataFrame, column: str, has: "pd.Series[bool]") -> "zip[tuple[Any, bool]]":
    return zip(raw[column], has, strict=True)
