"""The page: layout and state. `streamlit run dashboard/app.py`.

`main` is the one seam: it is handed where the serving layer comes from, so a test hands it a fake. The outer run draws
the side; the board below is a fragment that runs again by itself, reads once in one snapshot, and redraws in place, so
that tab, filter and zoom stay. Only the open tab reads and shows. Nothing that goes wrong here reaches the reader as a
traceback.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Beside the package in a checkout, inside it once installed: either way the folder above is where `dashboard` lies.
_ABOVE = str(Path(__file__).resolve().parent.parent)
if _ABOVE not in sys.path:
    sys.path.append(_ABOVE)

import streamlit as st  # noqa: E402

from dashboard import formats, header, sidebar, states, theme  # noqa: E402
from dashboard.context import Context, PageOptions  # noqa: E402
from dashboard.reading import Choice, Known, Serving  # noqa: E402
from dashboard.refresh import Refresh, shared_reads  # noqa: E402
from dashboard.tabs import Tab, heatmaps, peak_hours, raw_data, statistics  # noqa: E402
from dashboard.texts import Texts  # noqa: E402
from lambda_pipeline.domain.city_time import CityClock  # noqa: E402
from lambda_pipeline.errors import LambdaPipelineError, SettingsError  # noqa: E402
from lambda_pipeline.serving.layer import ServingLayer  # noqa: E402
from lambda_pipeline.settings import load_settings  # noqa: E402

TABS: tuple[Tab[Any], ...] = (
    Tab("heatmaps", heatmaps.read, heatmaps.show, heatmaps.chosen),
    Tab("peaks", peak_hours.read, peak_hours.show),
    Tab("statistics", statistics.read, statistics.show),
    Tab("raw", raw_data.read, raw_data.show, raw_data.chosen),
)
CITY, KEPT = "city", "kept"  # in the session: what was read last, used while the database is away
ICON = Path(__file__).resolve().parent / "icon.svg"  # a file: Streamlit would fetch an emoji's or a symbol's picture


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def main(source: Callable[[], Serving], options: PageOptions, now: Callable[[], datetime] = utc_now) -> None:
    """Draw the page over the serving layer that `source` gives. `now` is the present, aware."""
    t = Texts()
    st.set_page_config(page_title="lambda_pipeline", page_icon=str(ICON), layout="wide")
    st.html(theme.PAGE_CSS)
    try:
        serving = source()
        known = shared_reads(serving).known(serving, now())
        if CITY not in st.session_state:
            st.session_state[CITY] = serving.city()
        city = st.session_state[CITY]
    except Exception as error:
        _wait(error, t, options)
        return
    clock = CityClock(city.timezone, city.peak_windows)
    context = Context(city, clock, t, options, st.context.theme.type == "dark", now())
    choice = sidebar.show(known, context, now)
    st.fragment(_board, run_every=options.refresh_seconds)(serving, choice, known, context, now)


def _board(serving: Serving, choice: Choice, known: Known, context: Context, now: Callable[[], datetime]) -> None:
    """Read and draw everything but the side. Runs again every `refresh_seconds`."""
    context = context.at(now())
    t = context.texts
    labels = {t(f"tab.{tab.key}"): tab for tab in TABS}
    opened = labels.get(st.session_state.get("tabs", ""), TABS[0])
    # both stay in their place, with or without words: what follows keeps its own, and a tab stays selected
    with st.container(key="failure"):
        data = _read(serving, opened, choice.with_own(opened.chosen()), context)
    if data is None:
        return
    if data.known != known and data.read_at == context.now:
        st.rerun()  # a new location or source: the side must show it
    try:
        header.show(data, context)
        if data.is_empty:
            states.empty(t)
            return
        with st.container(key="notices"):
            states.notices(data, context)
        for drawn, tab in zip(st.tabs(list(labels), key="tabs", on_change="rerun"), TABS, strict=True):
            if tab.key == data.tab:
                with drawn:
                    tab.show(data.tab_data, context)
    except Exception as error:
        states.failed(error, t, context.options.refresh_seconds)


def _read(serving: Serving, tab: Tab[Any], choice: Choice, context: Context) -> Refresh | None:
    """The page's frames; while the database is away, those that were read last, with a word about it."""
    try:
        data = shared_reads(serving).refresh(serving, tab, choice, context)
    except Exception as error:
        kept: Refresh | None = st.session_state.get(KEPT)
        time = formats.clock_time(kept.read_at, context.clock, seconds=True) if kept is not None else ""
        states.failed(error, context.texts, context.options.refresh_seconds, time)
        return kept
    st.session_state[KEPT] = data
    return data


def _wait(error: Exception, t: Texts, options: PageOptions) -> None:
    """Say what is wrong, and try the whole page again after a while."""
    st.title(t("page.fallback"), anchor=False)
    states.failed(error, t, options.refresh_seconds)
    is_first = True

    def again() -> None:
        nonlocal is_first
        if not is_first:
            st.rerun()
        is_first = False

    st.fragment(again, run_every=options.refresh_seconds)()


@st.cache_resource(show_spinner=False)
def _serving(url: str) -> Serving:
    """The real serving layer over a small pool of connections, shared by all sessions of this process."""
    return ServingLayer.open(url, "dashboard")


def run() -> None:
    """The deployed page: everything from the settings."""
    try:
        settings = load_settings()
        secret = settings.reader_database_url or settings.database_url
        if secret is None:
            raise SettingsError(
                "no database is named.", "Set LAMBDA_READER_DATABASE_URL or start it with `lambda-pipeline up`."
            )
    except LambdaPipelineError as error:
        states.failed(error, Texts(), 0)
        return
    options = PageOptions(settings.tile_url, settings.tile_attribution, settings.refresh_seconds)
    main(lambda: _serving(secret.get_secret_value()), options)


if __name__ == "__main__":
    run()
