"""The reader's choices in the session, under the widgets' keys, and their way from and to the address.

The address is read once, when a session starts; after that the widgets say what is chosen, and the address follows.
"""

from datetime import date
from typing import Any, Final

import streamlit as st

from dashboard import address
from dashboard.address import Offer, RawView, Selection
from dashboard.texts import Texts
from lambda_pipeline.serving.raw_choice import Half, RawFilter, RawSort

# keys of widgets, whose values Streamlit keeps under them
LOCATIONS: Final = "locations"
DAYS: Final = "days"
LANGUAGE: Final = "language"
# keys of choices that `bound` ties to widgets
UNITS: Final = "units"
LAYERS, CATEGORIES, LEVELS, MISSING, PEAK = "raw-layers", "raw-categories", "raw-levels", "raw-missing", "raw-peak"
SORT, ORDER, SIZE = "raw-sort", "raw-order", "raw-size"
ANY: Final = "any"  # of a choice between one thing, another, or no matter

# keys of our own
TAB: Final = "tab"
PAGE: Final = "raw-page"
_OFFERED_DAYS: Final = "offered-days"
_WRITTEN: Final = "address"
_UNUSABLE: Final = "unusable"
_PAGER: Final = "raw-pager"


def start(offer: Offer) -> None:
    """At a session's first run: what the address asks for is what the widgets show."""
    state = st.session_state
    if TAB not in state:
        params = {name: st.query_params.get_all(name) for name in st.query_params}
        selection, state[_UNUSABLE] = address.read(params, offer)
        _put(selection, offer)
    # the last seven days stay the last seven when a day begins
    elif state.get(_OFFERED_DAYS) != offer.default_days:
        if state.get(DAYS) == state.get(_OFFERED_DAYS):
            state[DAYS] = offer.default_days
        state[_OFFERED_DAYS] = offer.default_days


def selection(offer: Offer) -> Selection:
    """What is chosen now."""
    state = st.session_state
    days = chosen_days(offer)
    return Selection(
        tab=state[TAB],
        language=state.get(LANGUAGE) or offer.language,
        units=state[UNITS],
        locations=tuple(state[LOCATIONS]),
        days=None if days == offer.default_days else days,
        raw=raw_view(),
    )


def chosen_days(offer: Offer) -> tuple[date, date]:
    """First and last chosen day, both in; while only one end is chosen, that day alone."""
    chosen = st.session_state.get(DAYS)
    days = [day for day in chosen or () if isinstance(day, date)] or list(offer.default_days)
    return days[0], days[-1]


def raw_view() -> RawView:
    """How the raw data is looked at."""
    state = st.session_state
    where = RawFilter(
        layers=tuple(state[LAYERS]),
        aqi_categories=tuple(state[CATEGORIES]),
        traffic_levels=tuple(state[LEVELS]),
        missing=None if state[MISSING] == ANY else Half(state[MISSING]),
        is_peak_hour=None if state[PEAK] == ANY else state[PEAK] == "yes",
    )
    return RawView(where, RawSort(state[SORT]), state[ORDER] == "desc", state[SIZE], state[PAGE])


def bound(name: str, t: Texts, *variant: str) -> dict[str, Any]:
    """`key` and `on_change` of a widget that shows and changes a choice whose options are written in words.

    Streamlit knows an option by its words, and forgets a widget that was not drawn: so the choice is kept under `name`,
    and every language, and whatever `variant` else changes the words, has a widget of its own, which begins with it.
    Another choice begins at the first page.
    """
    state, key = st.session_state, "-".join((name, t.language, *variant))
    if key not in state or state[key] != state[name]:
        state[key] = state[name]
    return {"key": key, "on_change": _take, "args": (name, key)}


def _take(name: str, key: str) -> None:
    st.session_state[name] = st.session_state[key]
    first_page()


def first_page() -> None:
    """When something else is looked at, from its beginning."""
    state = st.session_state
    state[PAGE] = 1
    state[_PAGER] = state.get(_PAGER, 0) + 1


def pager_key() -> str:
    """Key of the pager: another one once it has to begin anew, since Streamlit lets nobody set its value."""
    return f"raw-pager-{st.session_state.get(_PAGER, 0)}"


def turn_page(key: str) -> None:
    """The reader turned a page at the pager of this key."""
    st.session_state[PAGE] = st.session_state[key]


def unusable() -> tuple[str, ...]:
    """What the address asked for and could not be used, until something is chosen."""
    names: tuple[str, ...] = st.session_state.get(_UNUSABLE, ())
    return names


def write_address(offer: Offer) -> None:
    """Let the address say what is chosen, if it does not yet."""
    state = st.session_state
    params = address.write(selection(offer), offer)
    if state.get(_WRITTEN) == params:
        return
    if _WRITTEN in state:
        state[_UNUSABLE] = ()
    state[_WRITTEN] = params
    st.query_params.from_dict(params)


def _put(selection: Selection, offer: Offer) -> None:
    state, raw, where = st.session_state, selection.raw, selection.raw.where
    state[TAB] = selection.tab
    state[LANGUAGE] = selection.language
    state[UNITS] = selection.units
    state[LOCATIONS] = list(selection.locations)
    state[DAYS] = selection.days or offer.default_days
    state[_OFFERED_DAYS] = offer.default_days
    state[LAYERS] = list(where.layers)
    state[CATEGORIES] = list(where.aqi_categories)
    state[LEVELS] = list(where.traffic_levels)
    state[MISSING] = where.missing.value if where.missing else ANY
    state[PEAK] = ANY if where.is_peak_hour is None else "yes" if where.is_peak_hour else "no"
    state[SORT] = raw.sort.value
    state[ORDER] = "desc" if raw.descending else "asc"
    state[SIZE] = raw.page_size
    state[PAGE] = raw.page


def reset_raw_filter() -> None:
    """Every observation again."""
    state = st.session_state
    state[LAYERS], state[CATEGORIES], state[LEVELS] = [], [], []
    state[MISSING], state[PEAK] = ANY, ANY
    first_page()
