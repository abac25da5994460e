"""Raw Data: single observations, newest first, a page at a time from the database."""

import math
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.context import Context
from dashboard.reading import Choice, Reads
from dashboard.texts import Texts

PAGE_SIZES = (100, 500, 1000)
COLUMNS = (
    "timestamp", "layer", "location", "aqi_value", "aqi_category", "traffic_level", "current_speed", "free_flow_speed",
    "road_closure", "is_peak_hour", "pollutants", "source", "latitude", "longitude",
)  # fmt: skip
SIZE_KEY, PAGE_KEY = "page_size", "page"


@dataclass(frozen=True, slots=True)
class RawPage:
    """One page of observations."""

    rows: pd.DataFrame  # RAW
    matching: int
    page_size: int
    page: int


def chosen() -> tuple[int, int]:
    """Rows per page and page number (from 1), as the widgets below left them before this run."""
    return int(st.session_state.get(SIZE_KEY) or PAGE_SIZES[0]), int(st.session_state.get(PAGE_KEY) or 1)


def read(view: Reads, choice: Choice, context: Context) -> RawPage:
    """The page that the tab's own widgets ask for."""
    size, page = cast("tuple[int, int]", choice.own)
    rows = view.get_raw_data(choice.start, choice.end, choice.wanted, size, (page - 1) * size)
    return RawPage(rows, view.count_raw_data(choice.start, choice.end, choice.wanted), size, page)


def show(data: RawPage, context: Context) -> None:
    """The table of one page, the pager, and the download of what is shown."""
    t, raw = context.texts, data.rows
    if not len(raw):
        st.caption(t("raw.none"))
        return
    first = (data.page - 1) * data.page_size + 1
    last = t.number(first + len(raw) - 1)
    st.caption(t("raw.note", first=t.number(first), last=last, total=t.number(data.matching), zone=context.zone))
    st.dataframe(_table(raw, context), hide_index=True, height=520, column_config=_columns(t))
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.selectbox(t("raw.page_size"), PAGE_SIZES, key=SIZE_KEY, width=150, on_change=_first_page)
        st.pagination(max(math.ceil(data.matching / data.page_size), 1), key=PAGE_KEY)


def _first_page() -> None:
    st.session_state[PAGE_KEY] = 1


def _table(raw: pd.DataFrame, context: Context) -> pd.DataFrame:
    """RAW as it is shown: city times, sub-indices readable, and the layer beside the time."""
    local = raw["timestamp"].dt.tz_convert(context.clock.zone)
    pollutants = [formats.pollutants(cell) for cell in raw["pollutants"]]
    return raw.assign(timestamp=local.dt.strftime("%Y-%m-%d %H:%M:%S"), pollutants=pollutants)[list(COLUMNS)]


def _columns(t: Texts) -> dict[str, Any]:
    return {name: st.column_config.Column(t(f"column.{name}"), pinned=name == "timestamp") for name in COLUMNS}
