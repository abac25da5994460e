"""What the page says when something is missing: plain words, what to do, and never a traceback."""

import logging

import streamlit as st

from dashboard import formats, refresh
from dashboard.context import Context
from dashboard.refresh import Refresh
from dashboard.texts import Texts
from lambda_pipeline.errors import LambdaPipelineError, TransientError

logger = logging.getLogger(__name__)


def empty(t: Texts) -> None:
    """Nothing was ever observed."""
    st.subheader(t("state.empty.title"), anchor=False)
    st.markdown(t("state.empty"))
    st.caption(t("state.empty.demo"))
    st.code("lambda-pipeline demo", language="bash")
    st.caption(t("state.empty.up"))
    st.code("lambda-pipeline up", language="bash")


def failed(error: Exception, t: Texts, seconds: float, kept: str = "") -> None:
    """The page could not be read. `kept` is when what is still shown was read, if anything is."""
    if isinstance(error, TransientError):
        lines = [t("state.away", seconds=f"{seconds:g}")]
        lines += [t("state.away.kept", time=kept)] if kept else []
        st.warning(" ".join(lines), icon=":material/cloud_off:")
    elif isinstance(error, LambdaPipelineError):
        st.error(t("state.stopped", message=formats.markdown(error)), icon=":material/block:")
    else:
        logger.exception("the dashboard could not be drawn", exc_info=error)
        st.error(t("state.unexpected"), icon=":material/error:")


def notices(data: Refresh, context: Context) -> None:
    """Stale data, or one half missing: said above the tabs, which show what there is."""
    t, newest = context.texts, data.newest
    if newest is not None and refresh.status(newest, context.now) == "stale":
        age = (context.now - newest.to_pydatetime()).total_seconds()
        st.warning(
            t("state.stale", time=formats.date_time(newest, context.clock, t), age=t.age(age)),
            icon=":material/warning:",
        )
    if not len(data.hours):
        st.info(t("state.no_rows"), icon=":material/filter_alt_off:")
        return
    for measure in ("aqi", "traffic"):
        if int(data.hours[f"{measure}_count"].sum()) == 0:
            st.warning(t(f"state.no_{measure}"), icon=":material/sensors_off:")
