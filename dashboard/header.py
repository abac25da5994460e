"""The top of the page: which city, how fresh, how much."""

import pandas as pd
import streamlit as st

from dashboard import formats, refresh, theme
from dashboard.cards import card
from dashboard.context import Context
from dashboard.refresh import Refresh
from dashboard.texts import MISSING


def show(data: Refresh, context: Context) -> None:
    """City name, badge, newest observation with its age, observations served, and each layer's freshness."""
    t = context.texts
    newest = data.newest
    state = refresh.status(newest, context.now)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.title(formats.markdown(context.city.name), width="content", anchor=False)
        minutes = refresh.LIVE_UP_TO if state in {"live", "delayed"} else refresh.DELAYED_UP_TO
        st.badge(
            t(f"status.{state}"),
            color=theme.STATUS_COLOURS[state],  # type: ignore[arg-type]
            icon=theme.STATUS_ICONS[state],
            help=t(f"status.{state}.help", minutes=int(minutes.total_seconds() // 60)),
        )
    st.caption(t("page.subtitle"))
    with st.container(horizontal=True, gap="small", key="freshness"):
        _newest(newest, context)
        _observations(data, context)
        for layer in ("speed", "batch"):
            _layer(data.freshness, layer, context)


def name(context: Context) -> None:
    """The city alone, while nothing is known of it."""
    st.title(formats.markdown(context.city.name), anchor=False)
    st.caption(context.texts("page.subtitle"))


def _newest(newest: "pd.Timestamp | None", context: Context) -> None:
    t = context.texts
    if newest is None:
        card(t("header.newest"), MISSING, t("header.layer.nothing"))
        return
    age = (pd.Timestamp(context.now) - newest).total_seconds()
    note = formats.date_time(newest, context.clock, t)
    card(t("header.newest"), formats.clock_time(newest, context.clock), t.age(age), note)


def _observations(data: Refresh, context: Context) -> None:
    t = context.texts
    counts = data.freshness.set_index("layer")["observations"]
    split = t("header.of_layers", speed=t.number(counts.get("speed", 0)), batch=t.number(counts.get("batch", 0)))
    dead = int(data.freshness["dead_letters"].max())
    note = t("header.dead_letters", count=t.number(dead)) if dead else None
    card(t("header.observations"), t.number(int(counts.sum())), split, note)


def _layer(freshness: pd.DataFrame, layer: str, context: Context) -> None:
    t = context.texts
    rows = freshness[freshness["layer"] == layer]
    if not len(rows) or formats.is_missing(rows.iloc[0]["newest_observation"]):
        card(t(f"header.{layer}"), MISSING, t("header.layer.nothing"))
        return
    row = rows.iloc[0]
    newest = row["newest_observation"]
    updated = None
    if not formats.is_missing(row["updated_at"]):
        age = (pd.Timestamp(context.now) - row["updated_at"]).total_seconds()
        updated = t("header.layer.updated", age=t.age(age))
    note = t(
        "header.layer.help",
        observations=t.number(row["observations"]),
        hours=t.number(row["hours"]),
        time=formats.date_time(newest, context.clock, t),
    )
    card(t(f"header.{layer}"), formats.clock_time(newest, context.clock), updated, note)
