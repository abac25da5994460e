"""Whose data this is, as the AQICN terms and the map's owner demand: in the side, and at the foot of every page."""

import streamlit as st

from dashboard import formats
from dashboard.context import Context
from dashboard.reading import Known


def lines(known: Known, context: Context) -> list[str]:
    """A Markdown line per source; names from outside are text."""
    t, tiles = context.texts, context.options.tile_attribution
    own = ", ".join(known.sources) or t("sources.none")
    written = [formats.markdown(t("sources.aqi", sources=own)), formats.markdown(t("sources.traffic"))]
    if context.options.tile_url and tiles:
        written.append(formats.markdown(t("sources.tiles", attribution=tiles)))
    return written


def foot(known: Known, context: Context) -> None:
    """The end of the page: on a phone the side is folded away."""
    with st.container(key="foot"):
        st.caption(" · ".join(lines(known, context)))
