"""Cards: one number with its name above and a remark, or what it changed by, below."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import streamlit as st

from dashboard.formats import is_missing
from dashboard.texts import Texts

_COLOURS: Final = {"better": "green", "worse": "red", "more": "gray", "fewer": "gray", "same": "gray"}


@dataclass(frozen=True, slots=True)
class Reading:
    """A number of now; `higher_is` is "better", "worse" or "more" (neither)."""

    value: Any
    decimals: int
    higher_is: str

    def change(self, earlier: Any, against: str, t: Texts) -> str:
        """The change since an earlier number as Markdown: arrow, amount and word in the colour of the word.

        `against` is what is compared with, "hour" (before) or "week" (ago); where a number is missing, it says so.
        """
        if is_missing(self.value) or is_missing(earlier):
            return t(f"change.{against}.unknown")
        difference = round(float(self.value) - float(earlier), self.decimals)
        word = _word(difference, self.higher_is)
        amount = t.number(abs(difference), self.decimals)
        arrow = "▲" if difference > 0 else "▼" if difference < 0 else "="
        return f":{_COLOURS[word]}[{arrow} **{amount}** {t(f'change.{word}')}] {t(f'change.{against}')}"


def card(label: str, value: str, remark: str | None = None, note: str | None = None) -> None:
    """Draw it where the page is just now: not a change, so without an arrow or a colour. `note` appears on demand."""
    st.metric(label, value, remark, delta_color="off", delta_arrow="off", border=True, help=note)


def change_card(label: str, value: str, changes: Sequence[str], note: str | None = None) -> None:
    """A number with a line per change, as `Reading.change` writes them."""
    with st.container(border=True, gap="xxsmall", height="stretch"):
        st.metric(label, value, help=note)
        for change in changes:
            st.markdown(change)


def _word(difference: float, higher_is: str) -> str:
    if difference == 0:
        return "same"
    lower_is = {"better": "worse", "worse": "better", "more": "fewer"}[higher_is]
    return higher_is if difference > 0 else lower_is
