"""Raw Data: single observations as they are stored, filtered, sorted and paged in the database."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pandas as pd
import streamlit as st

from dashboard import choosing, raw_table
from dashboard.address import CATEGORIES, LAYERS, LEVELS, PAGE_SIZES, ROWS_REACHED, RawView
from dashboard.context import Context
from dashboard.downloads import MIME, ROWS_DOWNLOADED
from dashboard.measures import TRAFFIC
from dashboard.reading import Choice, Reads
from lambda_pipeline.serving.choices import Format
from lambda_pipeline.serving.raw_choice import EVERYTHING, RawSort

DEAD_LETTERS_SHOWN = 100
DOWNLOAD = "raw-download"  # key of the box, whose state is whether it is open


@dataclass(frozen=True, slots=True)
class RawPage:
    """One page of observations, and what is known around it."""

    rows: pd.DataFrame  # RAW
    matching: int  # at most ROWS_REACHED + 1, which means more
    downloadable: int | None  # at most ROWS_DOWNLOADED + 1; None while nobody asks
    dead_letters: pd.DataFrame  # DEAD_LETTERS, the newest
    dead_letters_count: int  # all of them
    choice: Choice
    look: RawView  # its page is one that there is


def chosen() -> tuple[RawView, bool]:
    """How the rows are looked at, and whether the box of the downloads is open."""
    return choosing.raw_view(), bool(st.session_state.get(DOWNLOAD))


def read(view: Reads, choice: Choice, context: Context) -> RawPage:
    """The page that the tab's own widgets ask for, or the last one that there is."""
    look, is_downloading = cast("tuple[RawView, bool]", choice.own)
    days, wanted, where = (choice.start, choice.end), choice.wanted, look.where
    matching = view.count_raw_data(*days, wanted, where=where, at_most=ROWS_REACHED)
    page = min(look.page, _pages(matching, look.page_size))
    offset = (page - 1) * look.page_size
    order = {"where": where, "sort": look.sort, "descending": look.descending}
    downloadable = None
    if is_downloading:
        is_counted = matching <= ROWS_REACHED
        downloadable = (
            matching if is_counted else view.count_raw_data(*days, wanted, where=where, at_most=ROWS_DOWNLOADED)
        )
    return RawPage(
        rows=view.get_raw_data(*days, wanted, look.page_size, offset, **order),  # type: ignore[arg-type]
        matching=matching,
        downloadable=downloadable,
        dead_letters=view.get_dead_letters(DEAD_LETTERS_SHOWN),
        dead_letters_count=int(view.get_freshness()["dead_letters"].max()),
        choice=choice,
        look=RawView(where, look.sort, look.descending, look.page_size, page),
    )


def show(data: RawPage, context: Context) -> None:
    """Filters, the table of one page, the pager, downloads, and the messages that could not be read."""
    _filters(context)
    _order(data, context)
    t, raw, look = context.texts, data.rows, data.look
    st.caption(_note(data, context))
    # one place for both, so that what follows keeps its own
    with st.container(key="raw-rows"):
        if len(raw):
            st.dataframe(
                raw_table.observations(raw, context),
                hide_index=True,
                height=560,
                column_config=raw_table.columns(context),
                placeholder=t("missing"),
                alt=t("raw.alt"),
            )
        elif look.where != EVERYTHING:
            st.button(t("raw.reset"), icon=":material/filter_alt_off:", on_click=choosing.reset_raw_filter)
    pages = _pages(data.matching, look.page_size)
    key = choosing.pager_key()
    st.pagination(pages, default=look.page, key=key, on_change=choosing.turn_page, args=(key,))
    _dead_letters(data, context)


def _pages(matching: int, page_size: int) -> int:
    return max(math.ceil(min(matching, ROWS_REACHED) / page_size), 1)


def _filters(context: Context) -> None:
    t = context.texts

    def several(name: str, options: tuple[object, ...], choice: str, written: Callable[[object], str]) -> None:
        bound = choosing.bound(choice, t)
        st.multiselect(t(name), options, format_func=written, placeholder=t("raw.all"), **bound)

    def either(name: str, options: tuple[str, ...], choice: str) -> None:
        bound = choosing.bound(choice, t)
        st.selectbox(t(name), (choosing.ANY, *options), format_func=lambda value: t(f"{name}.{value}"), **bound)

    with st.container(horizontal=True, gap="small", key="raw-filters"):
        several("column.layer", LAYERS, choosing.LAYERS, lambda layer: t(f"layer.{layer}"))
        several("column.aqi_category", CATEGORIES, choosing.CATEGORIES, lambda name: t(f"category.{name}"))
        several(
            "column.traffic_level",
            LEVELS,
            choosing.LEVELS,
            lambda level: TRAFFIC.band_of(cast("int", level), t).label,
        )
        either("raw.missing", ("aqi", "traffic"), choosing.MISSING)
        either("raw.peak", ("yes", "no"), choosing.PEAK)


def _order(data: RawPage, context: Context) -> None:
    t, sort = context.texts, data.look.sort
    kind = f".{sort}" if sort in {RawSort.TIMESTAMP, RawSort.LOCATION} else ""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="raw-order-row"):
        st.selectbox(
            t("raw.sort"),
            [sort.value for sort in RawSort],
            format_func=lambda column: t(f"column.{column}", unit=context.units.name(t)),
            **choosing.bound(choosing.SORT, t, context.units.key),
        )
        st.selectbox(
            t("raw.order"),
            ("desc", "asc"),
            format_func=lambda order: t(f"raw.order{kind}.{order}"),
            **choosing.bound(choosing.ORDER, t, kind),
        )
        st.selectbox(
            t("raw.page_size"),
            PAGE_SIZES,
            format_func=t.number,
            **choosing.bound(choosing.SIZE, t),
        )
        _download(data, context)


def _note(data: RawPage, context: Context) -> str:
    t, look = context.texts, data.look
    if not len(data.rows):
        return t("raw.none" if look.where == EVERYTHING else "raw.none.filtered")
    first = (look.page - 1) * look.page_size + 1
    total = t("raw.more", count=t.number(ROWS_REACHED)) if data.matching > ROWS_REACHED else t.number(data.matching)
    return t("raw.note", first=t.number(first), last=t.number(first + len(data.rows) - 1), total=total)


def _download(data: RawPage, context: Context) -> None:
    """A box with both formats. How many rows there would be is counted only once it is open."""
    t, downloads = context.texts, context.downloads
    if downloads is None:
        return
    with st.popover(t("raw.download"), icon=":material/download:", key=DOWNLOAD, on_change="rerun", width="stretch"):
        rows = data.downloadable
        if rows is None:
            st.caption(t("state.loading"))
            return
        if rows > ROWS_DOWNLOADED:
            st.warning(t("raw.download.many", count=t.number(ROWS_DOWNLOADED)), icon=":material/compress:")
            return
        st.caption(t("raw.download.note", count=t.number(rows)))
        days = f"{data.choice.start}-to-{data.choice.end - pd.Timedelta(days=1)}"
        part = "" if data.look.where == EVERYTHING and not data.choice.locations else "-filtered"
        for form in (Format.CSV, Format.PARQUET):
            st.download_button(
                t(f"raw.download.{form}"),
                lambda form=form: downloads.raw(data.choice, data.look.where, form),  # type: ignore[misc]
                file_name=f"observations-{days}{part}.{form}",
                mime=MIME[form],
                key=f"raw-download-{form}",
                on_click="ignore",
                disabled=not rows,
                width="stretch",
            )


def _dead_letters(data: RawPage, context: Context) -> None:
    t, count, letters = context.texts, data.dead_letters_count, data.dead_letters
    label = t("raw.dead_letters", count=t.number(count)) if count else t("raw.dead_letters.none")
    with st.expander(label, icon=":material/report:" if count else ":material/check:"):
        st.caption(t("raw.dead_letters.note"))
        if not len(letters):
            return
        if len(letters) < count:
            st.caption(t("raw.dead_letters.shown", shown=t.number(len(letters)), total=t.number(count)))
        st.dataframe(
            raw_table.dead_letters(letters, context), hide_index=True, placeholder=t("missing"),
            alt=t("raw.dead_letters.alt"),
        )  # fmt: skip
