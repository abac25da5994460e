"""How values from outside and instants are written: as text, never as markup, and always in the city's time."""

import html
import json
import re
import textwrap
from datetime import date, datetime, timedelta

import pandas as pd

from dashboard.texts import Texts
from lambda_pipeline.domain.city_time import CityClock

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$^=&@/])")
_LINK_SAFE = "\u2060"  # word joiner: unseen, and keeps ":name:" and ":red[" from being a directive


def hover(text: object) -> str:
    """Outside text for Plotly's hover cards and axis labels, which read pseudo-HTML."""
    return html.escape(str(text), quote=False)


def hover_lines(text: str, width: int = 44) -> str:
    """Long outside text for a hover card, in lines that a phone has room for."""
    return "<br>".join(hover(line) for line in textwrap.wrap(text, width))


def markdown(text: object) -> str:
    """Outside text for Streamlit's Markdown: shown as it is, without effect."""
    return _MARKDOWN.sub(r"\\\1", str(text)).replace(":", f":{_LINK_SAFE}").replace("\n", " ")


def clock_time(instant: "datetime | pd.Timestamp", clock: CityClock, seconds: bool = False) -> str:
    """An instant as "14:42 WIB", in the city's time."""
    return clock.local(instant).strftime("%H:%M:%S %Z" if seconds else "%H:%M %Z")


def date_time(instant: "datetime | pd.Timestamp", clock: CityClock, t: Texts) -> str:
    """An instant as "Thu 12 Mar, 14:42 WIB", in the city's time."""
    local = clock.local(instant)
    weekday, month = t(f"weekday.{local.weekday()}"), t(f"month.{local.month}")
    return t("date_time", weekday=weekday, day=local.day, month=month, time=local.strftime("%H:%M %Z"))


def hour(start: datetime, clock: CityClock, t: Texts) -> str:
    """The hour that starts at an instant, as "Thu 12 Mar, 13:00–14:00 WIB", in the city's time."""
    local, end = clock.local(start), clock.local(start + timedelta(hours=1))
    weekday, month = t(f"weekday.{local.weekday()}"), t(f"month.{local.month}")
    zone = "" if local.tzname() == end.tzname() else f" {local:%Z}"  # the hour in which clocks change
    time = f"{local:%H:%M}{zone}–{end:%H:%M %Z}"
    return t("date_time", weekday=weekday, day=local.day, month=month, time=time)


def weekday_and_day(instant: "datetime | pd.Timestamp", clock: CityClock, t: Texts) -> str:
    """The city's day at an instant as "Thu 12 Mar 2026"."""
    local = clock.local(instant)
    return f"{t(f'weekday.{local.weekday()}')} {day(local, t)}"


def day(date: "date | pd.Timestamp", t: Texts) -> str:
    """A day as "12 Mar 2026"."""
    return t("date", day=date.day, month=t(f"month.{date.month}"), year=date.year)


def is_missing(value: object) -> bool:
    """Whether a cell of a frame holds nothing."""
    return bool(pd.isna(value))  # type: ignore[call-overload]


def pollutants(text: object) -> str:
    """ "PM2.5 61, PM10 41" of a JSON object of sub-indices; empty where there is none."""
    value = _json(text)
    if not isinstance(value, dict):
        return ""
    return ", ".join(
        f"{pollutant(name)} {amount:g}" for name, amount in value.items() if isinstance(amount, int | float)
    )


def pollutant(name: object) -> str:
    """AQICN's key of a pollutant as people write it."""
    names = {"pm25": "PM2.5", "pm10": "PM10", "no2": "NO2", "o3": "O3", "so2": "SO2", "co": "CO"}
    return names.get(str(name), str(name))


def source_names(text: object) -> list[str]:
    """Names in a JSON list of attributions, as they come."""
    value = _json(text)
    if not isinstance(value, list):
        return []
    return [str(entry["name"]) for entry in value if isinstance(entry, dict) and entry.get("name")]


def _json(text: object) -> object:
    if not isinstance(text, str):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
