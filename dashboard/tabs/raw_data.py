"""Raw Data: single observations, newest first, a page at a time from the database."""

import math
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import formats
from dashboard.context import Context
from dashboard.reading import PageData
from dashboard.texts import Texts

PAGE_SIZES = (100, 500, 1000)
COLUMNS = (
    "timestamp", "layer", "location", "aqi_value", "aqi_category", "traffic_level", "current_speed", "free_flow_speed",
    "road_closure", "is_peak_hour", "pollutants", "source", "latitude", "longitude",
)  # fmt: skip
SIZE_KEY, PAGE_KEY = "page_size", "page"


def chosen_page() -> tuple[int, int]:
    """Rows per page and page number (from 1), as the widgets below left them before this run."""
    return int(st.session_state.get(SIZE_KEY) or PAGE_SIZES[0]), int(st.session_state.get(PAGE_KEY) or 1)


def show(data: PageData, context: Context) -> None:
    """The table of one page, the pager, and the download of what is shown."""
    t, choice, raw = context.texts, data.choice, data.raw
    if not len(raw):
        st.caption(t("raw.none"))
        return
    first = (choice.page - 1) * choice.page_size + 1
    total = max(data.total, first + len(raw) - 1)
    last = t.number(first + len(raw) - 1)
    st.caption(t("raw.note", first=t.number(first), last=last, total=t.number(total), zone=context.zone))
    st.dataframe(_table(raw, context), hide_index=True, height=520, column_config=_columns(t))
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.selectbox(t("raw.page_size"), PAGE_SIZES, key=SIZE_KEY, width=150, on_change=_first_page)
        st.pagination(max(math.ceil(total / choice.page_size), 1), key=PAGE_KEY)
        st.download_button(
            t("raw.download"),
            _csv(raw, context),
            file_name=f"observations-{choice.start}-to-{choice.end}-page-{choice.page}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )


def _first_page() -> None:
    st.session_state[PAGE_KEY] = 1


def _table(raw: pd.DataFrame, context: Context) -> pd.DataFrame:
    """RAW as it is shown: city times, sub-indices readable, and the layer beside the time."""
    local = raw["timestamp"].dt.tz_convert(context.clock.zone)
    pollutants = [formats.pollutants(cell) for cell in raw["pollutants"]]
    return raw.assign(timestamp=local.dt.strftime("%Y-%m-%d %H:%M:%S"), pollutants=pollutants)[list(COLUMNS)]


def _csv(raw: pd.DataFrame, context: Context) -> bytes:
    """RAW as it is, with the time in the city's offset, so that it says which instant it means."""
    times = [context.clock.local(at).isoformat() for at in raw["timestamp"]]
    return raw.assign(timestamp=times).to_csv(index=False).encode()


def _columns(t: Texts) -> dict[str, Any]:
    return {name: st.column_config.Column(t(f"column.{name}"), pinned=name == "timestamp") for name in COLUMNS}
