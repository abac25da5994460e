"""Heatmaps: traffic and air of every place side by side, now or replayed over the last 24 hours."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd
import streamlit as st

from dashboard import formats, maps
from dashboard.context import Context
from dashboard.hover_cards import CardWriter
from dashboard.live_map import Step, live_map
from dashboard.measures import AQI, TRAFFIC
from dashboard.reading import Choice, Reads

HOURS, HOUR = 24, timedelta(hours=1)
# in the session: the start of the hour that is shown (None is now), whether hours run by themselves, and the slider
SHOWN, PLAYING, SLIDER = "shown_hour", "is_replayed", "hours_back"
FRAME_MILLISECONDS = 900
NAMES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the maps show."""

    places: pd.DataFrame  # HEATMAP, or HOUR of an hour of the past; of the chosen locations
    hour_start: datetime | None  # None is now
    locations: tuple[str, ...]


def chosen() -> datetime | None:
    """Start of the hour that slider or replay asked for before this run; None is now."""
    shown: datetime | None = st.session_state.get(SHOWN)
    return shown


def read(view: Reads, choice: Choice, context: Context) -> Conditions:
    """The newest conditions, or the one hour that is asked for."""
    hour = choice.own if isinstance(choice.own, datetime) else None
    places = view.get_combined_heatmap_data() if hour is None else view.get_hour(hour)
    if choice.locations:
        places = places[places["location"].isin(choice.locations)]
    return Conditions(places, hour, choice.locations)


def show(data: Conditions, context: Context) -> None:
    """The player, two maps, and below them the places that no map can show."""
    t = context.texts
    step = _player(context)
    st.caption(_note(data, context))
    for column, measure in zip(st.columns(2), (TRAFFIC, AQI), strict=True):
        cards = CardWriter(measure, context.clock, t, context.units)
        if data.hour_start is None:
            figure = maps.conditions_map(data.places, cards, context.map_options)
        else:
            figure = maps.hour_map(data.places, t(f"map.{measure.key}.hour"), cards, context.map_options)
        with column:
            live_map(
                figure,
                key=f"map-{measure.key}",
                view="\n".join(data.locations),
                alt=t(f"map.alt.{measure.key}"),
                failure=t("map.failure"),
                numbers_from=maps.numbers_from(data.places),
                step=step if measure is TRAFFIC else None,  # one of the two keeps the pace
            )
    _without_coordinates(data, context)


def _player(context: Context) -> Step | None:
    """The slider and its button; while it plays, the step that the drawn map reports."""
    t, state, first = context.texts, st.session_state, context.clock.hour_start(context.now)
    shown = chosen()
    if shown is not None and first - shown > HOURS * HOUR:  # the page was left open
        shown = state[SHOWN] = first - HOURS * HOUR
    back = 0 if shown is None else (first - shown) // HOUR

    def named(hours_back: int) -> str:
        return t("map.now") if hours_back == 0 else formats.hour(first - hours_back * HOUR, context.clock, t)

    is_playing = bool(state.get(PLAYING)) and shown is not None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="player"):
        st.button(
            t("map.pause" if is_playing else "map.play"),
            icon=":material/pause:" if is_playing else ":material/play_arrow:",
            key="replay",
            on_click=_pause if is_playing else _play,
            args=() if is_playing else (first,),
            width=130,
        )
        key = f"{SLIDER}-{t.language}-{first:%H}"  # Streamlit knows an option by its words: other words, another slider
        state[key] = back
        hours = list(range(HOURS, -1, -1))
        st.select_slider(t("map.time"), hours, format_func=named, key=key, on_change=_moved, args=(key, first))
    return Step(back, FRAME_MILLISECONDS, lambda: _advance(first)) if is_playing else None


def _moved(key: str, first: datetime) -> None:
    """The slider was moved. A refresh that crossed a step of the replay brings the hour before: that is no move."""
    back, shown = int(st.session_state[key]), chosen()
    moved_to = first - back * HOUR if back else None
    if not (st.session_state.get(PLAYING) and shown is not None and moved_to == shown - HOUR):
        st.session_state[SHOWN] = moved_to


def _play(first: datetime) -> None:
    """From the hour that is shown on; from the first one, where that is now. `first` is the start of this hour."""
    st.session_state[PLAYING] = True
    st.session_state[SHOWN] = chosen() or first - HOURS * HOUR


def _pause() -> None:
    st.session_state[PLAYING] = False


def _advance(first: datetime) -> None:
    """One hour nearer to now, where the replay ends. `first` is the start of this hour."""
    shown = chosen()
    if not st.session_state.get(PLAYING) or shown is None:
        return
    is_last = shown + HOUR >= first
    st.session_state[SHOWN] = None if is_last else shown + HOUR
    st.session_state[PLAYING] = not is_last


def _note(data: Conditions, context: Context) -> str:
    t, hour = context.texts, data.hour_start
    if hour is None:
        return f"{t('map.note')} {t('map.note.far')}" if maps.numbers_from(data.places) else t("map.note")
    time = formats.hour(hour, context.clock, t)
    if not len(data.places):
        return t("map.note.hour.nothing", time=time)
    count = t.number(data.places["data_points_count"].sum())
    return t("map.note.hour", time=time, count=count, places=t.number(len(data.places)))


def _without_coordinates(data: Conditions, context: Context) -> None:
    t, names = context.texts, maps.without_coordinates(data.places)
    if not names:
        return
    if data.hour_start is not None:
        more = "" if len(names) <= NAMES_SHOWN else " …"
        st.caption(f"{t('map.without_coordinates')}: {formats.markdown(', '.join(names[:NAMES_SHOWN]))}{more}")
        return
    st.caption(t("map.without_coordinates"))
    lost = data.places[data.places["location"].isin(names)]
    columns = ["location", "traffic_level", "aqi_value", "aqi_category", "observed_at"]
    times = ["" if formats.is_missing(at) else formats.date_time(at, context.clock, t) for at in lost["observed_at"]]
    table = lost[columns].assign(observed_at=times)
    titles = {column: t(f"column.{'timestamp' if column == 'observed_at' else column}") for column in columns}
    st.dataframe(table.rename(columns=titles), hide_index=True)
