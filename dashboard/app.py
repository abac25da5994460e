"""The page: layout and state. `streamlit run dashboard/app.py`.

`main` is the one seam: it is handed where the serving layer comes from, so a test hands it a fake. The outer run draws
the side and the foot; between them the board (`dashboard/board.py`) is a fragment that runs again by itself.
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

from dashboard import attribution, choosing, sidebar, states, theme  # noqa: E402
from dashboard.address import Offer  # noqa: E402
from dashboard.board import Board  # noqa: E402
from dashboard.context import Context, PageOptions  # noqa: E402
from dashboard.downloads import Downloads, Export  # noqa: E402
from dashboard.live_map import load_library  # noqa: E402
from dashboard.reading import Serving  # noqa: E402
from dashboard.refresh import shared_reads  # noqa: E402
from dashboard.tabs import Tab, heatmaps, peak_hours, raw_data, statistics  # noqa: E402
from dashboard.texts import LANGUAGES, Texts  # noqa: E402
from dashboard.units import UNITS  # noqa: E402
from lambda_pipeline.domain.city_time import CityClock  # noqa: E402
from lambda_pipeline.errors import LambdaPipelineError, SettingsError  # noqa: E402
from lambda_pipeline.serving.export import export_raw  # noqa: E402
from lambda_pipeline.serving.layer import ArchivePlace, ServingLayer  # noqa: E402
from lambda_pipeline.settings import load_settings  # noqa: E402

TABS: tuple[Tab[Any], ...] = (
    Tab("heatmaps", heatmaps.read, heatmaps.show, heatmaps.chosen),
    Tab("peaks", peak_hours.read, peak_hours.show),
    Tab("statistics", statistics.read, statistics.show),
    Tab("raw", raw_data.read, raw_data.show, raw_data.chosen),
)
ICON = Path(__file__).resolve().parent / "icon.svg"  # a file: Streamlit would fetch an emoji's or a symbol's picture


def utc_now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def main(
    source: Callable[[], Serving],
    options: PageOptions,
    export: Export,
    now: Callable[[], datetime] = utc_now,
) -> None:
    """Draw the page over the serving layer that `source` gives. `now` is the present, aware; `export` writes files."""
    st.set_page_config(page_title="lambda_pipeline", page_icon=str(ICON), layout="wide")
    st.html(theme.PAGE_CSS)
    language = _readers_language()
    try:
        _draw(source(), options, language, export, now)
    except Exception as error:
        states.waiting(error, Texts(st.session_state.get(choosing.LANGUAGE, language)), options.refresh_seconds)


def _draw(serving: Serving, options: PageOptions, language: str, export: Export, now: Callable[[], datetime]) -> None:
    """The side, the board, the foot."""
    load_library(is_wanted=st.query_params.get("tab", TABS[0].key) == "heatmaps")
    reads = shared_reads(serving)
    city, known = reads.city(serving), reads.known(serving, now())
    clock = CityClock(city.timezone, city.peak_windows)
    today = clock.city_date(now())
    offer = Offer(tuple(tab.key for tab in TABS), known.names, min(city.history_start, today), today, language)
    choosing.start(offer)
    selection = choosing.selection(offer)
    context = Context(
        city,
        clock,
        Texts(selection.language),
        options,
        st.context.theme.type == "dark",
        now(),
        UNITS[selection.units],
        Downloads(serving, export),
    )
    sidebar.show(known, offer, context, now)
    board = Board(serving, TABS, known, offer, context, now)
    st.fragment(board.draw, run_every=options.refresh_seconds)()
    attribution.foot(known, context)


def _readers_language() -> str:
    """The language of the reader's browser, if the page speaks it; else English."""
    spoken = str(st.context.locale or "").split("-")[0]
    return spoken if spoken in LANGUAGES else Texts().language


@st.cache_resource(show_spinner=False)
def _serving(url: str, _archive: ArchivePlace | None) -> Serving:
    """The real serving layer over a small pool of connections, shared by all sessions of this process."""
    return ServingLayer.open(url, "dashboard", _archive)


def run() -> None:
    """The deployed page: everything from the settings."""
    try:
        settings = load_settings()
        secret, archive = settings.reader_database_url or settings.database_url, settings.archive
        if secret is None:
            raise SettingsError(
                "no database is named.", "Set LAMBDA_READER_DATABASE_URL or start it with `lambda-pipeline up`."
            )
    except LambdaPipelineError as error:
        states.failed(error, Texts(), 0)
        return
    options = PageOptions(settings.tile_url, settings.tile_attribution, settings.refresh_seconds)
    main(lambda: _serving(secret.get_secret_value(), archive), options, export_raw)


if __name__ == "__main__":
    run()
