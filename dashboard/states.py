"""What the page says when something is missing: plain words, what to do, and never a traceback."""

import logging
from datetime import datetime

import streamlit as st

from dashboard import formats, refresh
from dashboard.context import Context
from dashboard.refresh import Refresh
from dashboard.texts import Texts
from lambda_pipeline.errors import LambdaPipelineError, TransientError

logger = logging.getLogger(__name__)

# Grey shapes where cards and charts are going to be. For a screen reader the words beside them are enough.
SKELETON = """<div class="skeleton" aria-hidden="true">
<div class="skeleton-cards"><i></i><i></i><i></i><i></i></div><div class="skeleton-charts"><i></i><i></i></div></div>"""


def empty(t: Texts) -> None:
    """Nothing was ever observed."""
    with st.container(border=True, key="empty"):
        st.subheader(f":material/hourglass_empty: {t('state.empty.title')}", anchor=False)
        st.markdown(t("state.empty"))
        st.caption(t("state.empty.demo"))
        st.code("lambda-pipeline demo", language="bash")
        st.caption(t("state.empty.up"))
        st.code("lambda-pipeline up", language="bash")


def loading(t: Texts) -> None:
    """Something is read for the first time."""
    with st.container():
        st.caption(f":material/progress_activity: {t('state.loading')}")
        st.html(SKELETON)


def unread(t: Texts) -> None:
    """A tab that was never read, while the database is away."""
    with st.container(border=True):
        st.markdown(f":material/cloud_off: {t('state.unread')}")


def failed(error: Exception, t: Texts, seconds: float, since: str = "", kept: str = "", of_choice: bool = True) -> None:
    """The page could not be read, `since` when. `kept` is when what is still shown was read, if anything is, and
    `of_choice` whether it is what is chosen now."""
    if isinstance(error, TransientError):
        lines = [
            t("state.away.since", time=since) if since else t("state.away"),
            t("state.again", seconds=f"{seconds:g}"),
        ]
        lines += [t("state.away.kept", time=kept)] if kept else []
        lines += [] if of_choice else [t("state.away.choice")]
        lines += [t("state.away.check")]
        st.warning(" ".join(lines), icon=":material/cloud_off:")
    elif isinstance(error, LambdaPipelineError):
        st.error(t("state.stopped", message=formats.markdown(error)), icon=":material/block:")
    else:
        logger.error("the dashboard could not be drawn", exc_info=error)
        st.error(t("state.unexpected"), icon=":material/error:")


def unusable(names: tuple[str, ...], t: Texts) -> None:
    """The address asked for what there is not. The names are parameters of ours."""
    if names:
        st.info(t("state.address", names=", ".join(f"`{name}`" for name in names)), icon=":material/link_off:")


def notices(data: Refresh, context: Context) -> None:
    """Stale data, or one half missing: said above the tabs, which show what there is."""
    t, newest, hours = context.texts, data.newest, data.hours
    if newest is not None and refresh.status(newest, context.now) == "stale":
        age = (context.now - newest.to_pydatetime()).total_seconds()
        time = formats.date_time(newest, context.clock, t)
        st.warning(t("state.stale", time=time, age=t.age(age)), icon=":material/warning:")
    if not len(hours):
        st.info(t("state.no_rows"), icon=":material/filter_alt_off:")
        return
    for measure in ("aqi", "traffic"):
        if not int(hours[f"{measure}_count"].sum()):
            st.warning(t(f"state.no_{measure}"), icon=":material/sensors_off:")
        elif (since := _missing_since(data, measure)) is not None:
            time = formats.date_time(since, context.clock, t)
            st.warning(t(f"state.no_{measure}.since", time=time), icon=":material/sensors_off:")


def _missing_since(data: Refresh, measure: str) -> datetime | None:
    """When the last hour with any value of a measure ended, if a whole hour and more went without one."""
    has_value = data.hours.loc[data.hours[f"{measure}_count"] > 0, "hour_start"].max()
    newest = data.hours["hour_start"].max()
    hours_without = (newest - has_value).total_seconds() / 3600
    return (has_value.to_pydatetime() + refresh.HOUR) if hours_without > 1 else None


def waiting(error: Exception, t: Texts, seconds: float) -> None:
    """There is not even a city yet: say what is wrong, and try the whole page again after a while."""
    st.title(t("page.fallback"), anchor=False)
    failed(error, t, seconds)
    is_first = True

    def again() -> None:
        nonlocal is_first
        if not is_first:
            st.rerun()
        is_first = False

    st.fragment(again, run_every=seconds)()
