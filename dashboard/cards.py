"""A card: one number with its name above and a remark below. Not a change, so without an arrow or a colour."""

import streamlit as st


def card(label: str, value: str, remark: str | None = None, note: str | None = None) -> None:
    """Draw it where the page is just now. `note` appears on demand."""
    st.metric(label, value, remark, delta_color="off", delta_arrow="off", border=True, help=note)
