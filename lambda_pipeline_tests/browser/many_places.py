"""The page over made-up data of very many places, for a browser: `streamlit run` of this file."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

import streamlit as st

from dashboard import app
from dashboard.context import PageOptions
from lambda_pipeline_tests.dashboard.fake_export import export_raw
from lambda_pipeline_tests.dashboard.fake_observations import observations
from lambda_pipeline_tests.dashboard.fake_serving import FakeServing

SIDE = 25
PLACES = {f"Place {n}": (-6.4 + 0.4 * (n // SIDE) / SIDE, 106.6 + 0.4 * (n % SIDE) / SIDE) for n in range(SIDE**2)}


@st.cache_resource(show_spinner=False)
def serving() -> FakeServing:
    """Shared by all sessions."""
    return FakeServing(table=observations(days=1, places=PLACES), places=PLACES)


if __name__ == "__main__":
    app.main(serving, PageOptions(refresh_seconds=60), export_raw, now=lambda: serving().now)
