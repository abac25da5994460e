"""The side: what to look at, what time it is in the city, how the numbers come about and whose they are."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import streamlit as st

from dashboard import formats
from dashboard.context import Context
from dashboard.reading import Choice, Known
from lambda_pipeline.domain.peak_hours import is_peak_hour

DAYS_SHOWN = 7
CLOCK_SECONDS = 10


def show(known: Known, context: Context, now: Callable[[], datetime]) -> Choice:
    """Draw the side and return the choice."""
    t = context.texts
    with st.sidebar:
        locations = st.multiselect(
            t("sidebar.locations"), known.names, placeholder=t("sidebar.locations.all"), key="locations"
        )
        start, end = _days(context)
        st.fragment(_clock, run_every=CLOCK_SECONDS)(context, now)
        with st.expander(t("sidebar.layers"), icon=":material/layers:"):
            for layer in ("speed", "batch", "serving"):
                st.markdown(t(f"sidebar.layers.{layer}"))
        _sources(known.sources, context)
    return Choice(start, end, tuple(locations))


def _days(context: Context) -> tuple[date, date]:
    """Chosen city days as a half-open range; while only one end is chosen, that day alone."""
    t = context.texts
    today = context.clock.city_date(context.now)
    first = max(context.city.history_start, today - timedelta(days=DAYS_SHOWN - 1))
    chosen = st.date_input(
        t("sidebar.range"),
        value=(min(first, today), today),
        min_value=min(context.city.history_start, today),
        max_value=today + timedelta(days=1),  # a page left open over midnight still knows its day
        format="YYYY-MM-DD",
        help=t("sidebar.range.help"),
        key="days",
    )
    days = list(chosen) if isinstance(chosen, tuple) else [chosen]
    days = [day for day in days if isinstance(day, date)] or [today]
    return days[0], days[-1] + timedelta(days=1)


def _clock(context: Context, now: Callable[[], datetime]) -> None:
    t, city, moment = context.texts, context.city, now()
    is_peak = is_peak_hour(context.clock.place(moment)[2], city.peak_windows)
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{formats.markdown(formats.clock_time(moment, context.clock))}**", width="content")
            if city.peak_windows:
                st.badge(
                    t("sidebar.peak.now" if is_peak else "sidebar.peak.not"),
                    color="orange" if is_peak else "gray",
                    icon=":material/traffic:" if is_peak else ":material/check:",
                )
        windows = ", ".join(str(window).replace("-", "\u2011") for window in city.peak_windows)
        st.caption(t("sidebar.peak.windows", windows=windows) if windows else t("sidebar.peak.none"))


def _sources(sources: Sequence[str], context: Context) -> None:
    t, tiles = context.texts, context.options.tile_attribution
    st.caption(f"**{t('sidebar.sources')}**")
    own = ", ".join(sources) or t("sidebar.sources.none")
    st.caption(formats.markdown(t("sidebar.sources.aqi", sources=own)))
    st.caption(t("sidebar.sources.traffic"))
    if context.options.tile_url and tiles:
        st.caption(t("sidebar.sources.tiles", attribution=formats.markdown(tiles)))
