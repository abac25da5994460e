"""The side: what to look at, what time it is in the city, how the numbers come about and whose they are."""

from collections.abc import Callable
from datetime import datetime

import streamlit as st

from dashboard import address, attribution, choosing, formats
from dashboard.address import Offer
from dashboard.context import Context
from dashboard.reading import Known
from dashboard.texts import LANGUAGES
from dashboard.units import UNITS
from lambda_pipeline.domain.peak_hours import is_peak_hour

CLOCK_SECONDS = 10


def show(known: Known, offer: Offer, context: Context, now: Callable[[], datetime]) -> None:
    """Draw the side; `choosing.selection` says what is chosen in it."""
    t = context.texts
    with st.sidebar:
        _locations(known, context)
        st.date_input(
            t("sidebar.range"),
            min_value=offer.first_day,
            max_value=offer.last_day,
            format="DD/MM/YYYY",
            help=t("sidebar.range.help"),
            key=choosing.DAYS,
            on_change=choosing.first_page,
        )
        st.fragment(_clock, run_every=CLOCK_SECONDS)(context, now)
        _writing(context)
        with st.expander(t("sidebar.layers"), icon=":material/layers:"):
            for layer in ("speed", "batch", "serving"):
                st.markdown(t(f"sidebar.layers.{layer}"))
        st.caption(f"**{t('sources')}**")
        for line in attribution.lines(known, context):
            st.caption(line)


def _locations(known: Known, context: Context) -> None:
    t = context.texts
    names = known.names
    # one that was chosen and is no longer served stays chosen: it may have older observations
    gone = [name for name in st.session_state[choosing.LOCATIONS] if name not in set(names)]
    chosen = st.multiselect(
        t("sidebar.locations"),
        [*names, *gone],
        placeholder=t("sidebar.locations.all", count=t.number(len(names))),
        help=t("sidebar.locations.help"),
        key=choosing.LOCATIONS,
        on_change=choosing.first_page,
        select_all=address.LOCATIONS_WRITTEN,
    )
    if len(chosen) > address.LOCATIONS_WRITTEN:
        st.caption(t("sidebar.locations.many", count=address.LOCATIONS_WRITTEN))


def _writing(context: Context) -> None:
    """Language and units."""
    t = context.texts
    with st.container(horizontal=True, gap="small"):
        st.selectbox(
            t("sidebar.language"),
            list(LANGUAGES),
            format_func=lambda code: LANGUAGES[code].name,
            key=choosing.LANGUAGE,
            width="stretch",
        )
        st.selectbox(
            t("sidebar.units"),
            list(UNITS),
            format_func=lambda key: UNITS[key].name(t),
            width="stretch",
            **choosing.bound(choosing.UNITS, t),
        )


def _clock(context: Context, now: Callable[[], datetime]) -> None:
    t, city, moment = context.texts, context.city, now()
    is_peak = is_peak_hour(context.clock.place(moment)[2], city.peak_windows)
    with st.container(border=True, gap="xsmall", key="clock"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{formats.markdown(formats.clock_time(moment, context.clock))}**", width="content")
            if city.peak_windows:
                st.badge(
                    t("sidebar.peak.now" if is_peak else "sidebar.peak.not"),
                    color="orange" if is_peak else "gray",
                    icon=":material/traffic:" if is_peak else ":material/check:",
                )
        st.caption(formats.markdown(formats.weekday_and_day(moment, context.clock, t)))
        windows = ", ".join(str(window).replace("-", "\u2011") for window in city.peak_windows)
        st.caption(t("sidebar.peak.windows", windows=windows) if windows else t("sidebar.peak.none"))
