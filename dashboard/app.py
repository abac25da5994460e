"""The page: layout and state. `streamlit run dashboard/app.py`.

`main` is the one seam: it is handed where the serving layer comes from, so a test hands it a fake. The outer run draws
the side; the board below is a fragment that runs again by itself, reads once in one snapshot, and redraws in place, so
that tab, filter and zoom stay. Nothing that goes wrong here reaches the reader as a traceback.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

# Beside the package in a checkout, inside it once installed: either way the folder above is where `dashboard` lies.
_ABOVE = str(Path(__file__).resolve().parent.parent)
if _ABOVE not in sys.path:
    sys.path.append(_ABOVE)

import streamlit as st  # noqa: E402

from dashboard import formats, header, reading, sidebar, states, theme  # noqa: E402
from dashboard.context import Context, PageOptions  # noqa: E402
from dashboard.reading import Choice, CityInfo, Known, PageData, Serving  # noqa: E402
from dashboard.tabs import heatmaps, peak_hours, raw_data, statistics  # noqa: E402
from dashboard.texts import Texts  # noqa: E402
from lambda_pipeline.domain.city_time import CityClock  # noqa: E402
from lambda_pipeline.errors import LambdaPipelineError, SettingsError  # noqa: E402
from lambda_pipeline.serving.layer import ServingLayer  # noqa: E402
from lambda_pipeline.settings import load_settings  # noqa: E402

TABS = (("heatmaps", heatmaps), ("peaks", peak_hours), ("statistics", statistics), ("raw", raw_data))
CITY, KNOWN, KEPT = "city", "known", "kept"  # in the session: what was read last, used while the database is away
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
        city, known = _first_read(serving)
    except Exception as error:
        _wait(error, t, options)
        return
    clock = CityClock(city.timezone, city.peak_windows)
    context = Context(city, clock, t, options, st.context.theme.type == "dark", now())
    choice = sidebar.show(known, context, now)
    st.fragment(_board, run_every=options.refresh_seconds)(serving, choice, known, context, now)


def _first_read(serving: Serving) -> tuple[CityInfo, Known]:
    """City and locations, read once per session; the board keeps the locations up to date."""
    state = st.session_state
    if CITY not in state or KNOWN not in state:
        with serving.snapshot() as view:
            state[KNOWN] = reading.known(view.get_combined_heatmap_data())
        state[CITY] = serving.city()
    return state[CITY], state[KNOWN]


def _board(serving: Serving, choice: Choice, known: Known, context: Context, now: Callable[[], datetime]) -> None:
    """Read and draw everything but the side. Runs again every `refresh_seconds`."""
    context = context.at(now())
    # both stay in their place, with or without words: what follows keeps its own, and a tab stays selected
    with st.container(key="failure"):
        data = _read(serving, choice, context)
    if data is None:
        return
    if data.known != known and data.read_at == context.now:
        st.session_state[KNOWN] = data.known
        st.rerun()  # a new location or source: the side must show it
    try:
        header.show(data, context)
        if data.is_empty:
            states.empty(context.texts)
            return
        with st.container(key="notices"):
            states.notices(data, context)
        tabs = st.tabs([context.texts(f"tab.{key}") for key, _ in TABS], key="tabs")
        for tab, (_, module) in zip(tabs, TABS, strict=True):
            with tab:
                module.show(data, context)
    except Exception as error:
        states.failed(error, context.texts, context.options.refresh_seconds)


def _read(serving: Serving, choice: Choice, context: Context) -> PageData | None:
    """The page's frames; while the database is away, those that were read last, with a word about it."""
    size, page = raw_data.chosen_page()
    try:
        data = reading.read_page(serving, choice.at_page(size, page), context.now)
    except Exception as error:
        kept: PageData | None = st.session_state.get(KEPT)
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
