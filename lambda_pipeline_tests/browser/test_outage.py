"""PostgreSQL stops and starts again under an open page."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline_tests.browser.reader import LOADING, TABS, Reader
from lambda_pipeline_tests.browser.stage import Stage, staged
from lambda_pipeline_tests.servers import make_claimed_database

pytestmark = pytest.mark.browser

AWAY = "The database has not answered since"


@pytest.fixture
def own_postgres(jakarta: City) -> Iterator[EmbeddedPostgres]:
    """A server that a test may stop, with an empty database `own`."""
    # Not below pytest's own folder, which other users cannot enter, and PostgreSQL may run as one.
    with tempfile.TemporaryDirectory(prefix="lambda-browser-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Home(Path(folder)), {"fsync": "off"})
        server.start()
        try:
            make_claimed_database(server, "own", jakarta)
            yield server
        finally:
            server.stop(force=True)


@pytest.fixture
def own_stage(own_postgres: EmbeddedPostgres, jakarta: City, tmp_path: Path) -> Iterator[Stage]:
    with staged(own_postgres, "own", jakarta, 1, tmp_path / "streamlit.log") as stage:
        yield stage


def test_the_page_outlives_its_database(reader: Reader, own_stage: Stage, own_postgres: EmbeddedPostgres) -> None:
    page, name = reader.page, own_stage.city.locations[0].name
    reader.visit(own_stage.url, tab="statistics", location=name)
    panel = reader.panel("Statistics")
    reader.expect_charts(panel, TABS["Statistics"])

    own_postgres.stop()
    away = page.get_by_text(AWAY)
    expect(away).to_be_visible(timeout=LOADING)
    expect(away).to_contain_text("What you see was read at")
    reader.expect_charts(panel, TABS["Statistics"])  # what was read stays
    page.get_by_role("tab", name="Heatmaps").click()  # never read, and no harm done
    expect(page.get_by_text("This tab was not read before the database went away.")).to_be_visible(timeout=LOADING)
    expect(page.get_by_test_id("stException")).to_have_count(0)

    own_postgres.start()
    reader.expect_maps()  # by itself
    expect(away).to_have_count(0, timeout=LOADING)
    own_stage.observe(name, aqi=311, level=4)
    expect(page.get_by_test_id("stMetric").filter(has_text="Newest observation")).to_contain_text(
        "ago", timeout=LOADING
    )
    assert reader.params["location"] == [name]
