"""Everything between the side and the foot: header, notices, tabs.

It is drawn again at every refresh, in place: parts that come and go have a place of their own that is always there, so
that what follows keeps its own, and with it tab, zoom and scroll. Only the open tab reads and shows. While the database
is away the board shows what it read last, and says so.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import streamlit as st

from dashboard import choosing, formats, header, states
from dashboard.address import Offer
from dashboard.context import Context
from dashboard.reading import Known, Serving
from dashboard.refresh import Refresh, shared_reads
from dashboard.tabs import Tab

# in the session
KEPT: Final = "kept"  # by tab, what was read last
AWAY: Final = "away-since"  # since when reading fails


@dataclass(frozen=True, slots=True)
class Board:
    """What the outer run hands to the refreshes that follow it."""

    serving: Serving
    tabs: tuple[Tab[Any], ...]
    known: Known
    offer: Offer
    context: Context
    now: Callable[[], datetime]
    labels: dict[str, Tab[Any]] = field(init=False)

    def __post_init__(self) -> None:
        texts = self.context.texts
        object.__setattr__(self, "labels", {texts(f"tab.{tab.key}"): tab for tab in self.tabs})

    def draw(self) -> None:
        """One refresh."""
        context = self.context.at(self.now())
        if context.clock.city_date(context.now) != self.offer.today:
            st.rerun()  # a day begins: the side must know it
        if shared_reads(self.serving).newest_known != self.known:
            st.rerun()  # a new location or source: the side must show it
        try:
            self._draw(context)
        except Exception as error:
            states.failed(error, context.texts, context.options.refresh_seconds)

    def _draw(self, context: Context) -> None:
        tab = self._opened()
        choosing.write_address(self.offer)
        kept: dict[str, Refresh] = st.session_state.setdefault(KEPT, {})
        failure, waiting = st.container(key="failure"), st.empty()
        head, notices = st.container(key="head"), st.container(key="notices")
        # the first time there is nothing to draw around what is awaited; later only the opened tab may have to wait
        panel = self._panel(tab) if _is_worth_tabs(kept) else None
        wait = waiting if panel is None else panel.empty()
        if tab.key not in kept:
            with wait.container():
                states.loading(context.texts)
        with failure:
            data = self._read(tab, kept, context)
        wait.empty()
        if data is None:
            with head:
                header.name(context)
            return
        with head:
            header.show(data, context)
        if data.is_empty:
            states.empty(context.texts)
            return
        with notices:
            states.unusable(choosing.unusable(), context.texts)
            states.notices(data, context)
        if panel is None:
            panel = self._panel(tab)
            panel.empty()
        with panel:
            if data.tab == tab.key:
                tab.show(data.tab_data, context)
            else:
                states.unread(context.texts)

    def _opened(self) -> Tab[Any]:
        """The open tab; Streamlit knows it by its label, we by its key, which no language changes."""
        state = st.session_state
        opened = self.labels.get(state.get(self._tabs_key, ""))
        if opened is None:
            opened = next(tab for tab in self.tabs if tab.key == state[choosing.TAB])
            state[self._tabs_key] = self.context.texts(f"tab.{opened.key}")
        state[choosing.TAB] = opened.key
        return opened

    @property
    def _tabs_key(self) -> str:
        return f"tabs-{self.context.texts.language}"

    def _panel(self, opened: Tab[Any]) -> Any:
        panels = st.tabs(list(self.labels), key=self._tabs_key, on_change="rerun")
        return panels[self.tabs.index(opened)]

    def _read(self, tab: Tab[Any], kept: dict[str, Refresh], context: Context) -> Refresh | None:
        """What is shown; while it cannot be read, what was read last, with a word about it."""
        state, clock = st.session_state, context.clock
        selection = choosing.selection(self.offer)
        choice = selection.choice(self.offer).with_own(tab.chosen())
        try:
            data = shared_reads(self.serving).refresh(self.serving, tab, choice, context)
        except Exception as error:
            since = state.setdefault(AWAY, context.now)
            last = kept.get(tab.key) or max(kept.values(), key=lambda data: data.read_at, default=None)
            states.failed(
                error,
                context.texts,
                context.options.refresh_seconds,
                formats.clock_time(since, clock),
                formats.clock_time(last.read_at, clock, seconds=True) if last else "",
                last is None or last.choice.with_own(None) == choice.with_own(None),
            )
            return last
        state.pop(AWAY, None)
        kept[tab.key] = data
        return data


def _is_worth_tabs(kept: dict[str, Refresh]) -> bool:
    return any(not data.is_empty for data in kept.values())
