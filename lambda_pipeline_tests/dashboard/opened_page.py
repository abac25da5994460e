"""The page over a fake serving layer, as a test opens it."""

from datetime import timedelta
from typing import Any

from streamlit.testing.v1 import AppTest

from lambda_pipeline_tests.dashboard.fake_serving import FakeServing

TABS = ["Heatmaps", "Peak Hours Analysis", "Statistics", "Raw Data"]
KEYS = ["heatmaps", "peaks", "statistics", "raw"]


def page(serving: "FakeServing") -> None:
    """The script that Streamlit runs. Its source is copied, hence the imports within."""
    from dashboard import app
    from dashboard.context import PageOptions
    from lambda_pipeline_tests.dashboard.fake_export import export_raw

    app.main(lambda: serving, PageOptions(refresh_seconds=10), export_raw, now=lambda: serving.now)


def opened(serving: FakeServing, **address: str | list[str]) -> AppTest:
    """The page at an address."""
    app = AppTest.from_function(page, kwargs={"serving": serving}, default_timeout=60)
    app.query_params.update(address)
    return app.run()


def refreshed(app: AppTest, serving: FakeServing, after: timedelta = timedelta(seconds=10)) -> AppTest:
    """The same page later, by default at its next refresh."""
    serving.now += after
    return app.run()


def words(app: Any) -> str:
    """Everything that is written on the page, or in a part of it."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "code", "text")
    parts = [str(element.value) for kind in kinds for element in getattr(app, kind)]
    return "\n".join(parts)


def drawn(part: Any) -> int:
    """How many charts and maps are on the page, or in a part of it."""
    return len(part.get("plotly_chart")) + len(part.get("bidi_component"))


def panel(app: AppTest) -> Any:
    """The open tab."""
    return next(tab for tab in app.tabs if len(tab.children))
