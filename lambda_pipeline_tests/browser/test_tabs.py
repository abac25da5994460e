"""All four tabs open in a real browser, show their charts and no errors, at a desk's width and at a phone's."""

import pytest
from playwright.sync_api import Browser, expect

from lambda_pipeline_tests.browser.reader import LOADING, SIZES, TABS, reading
from lambda_pipeline_tests.browser.stage import Stage

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("size", SIZES)
def test_every_tab_opens_with_its_charts_and_without_errors(chromium: Browser, stage: Stage, size: str) -> None:
    with reading(chromium, size) as reader:
        page = reader.page
        reader.visit(stage.url)
        assert [tab.inner_text() for tab in page.get_by_role("tab").all()] == list(TABS)
        reader.expect_maps()
        for name in TABS:
            reader.open_tab(name)
            assert reader.is_within_its_width, f"{name} is wider than the window"
        expect(reader.panel("Raw Data").get_by_test_id("stDataFrame").first).to_be_visible(timeout=LOADING)
        expect(page.get_by_test_id("stAppDeployButton")).to_have_count(0)  # Streamlit's own buttons
        expect(page.get_by_test_id("stMainMenu")).to_have_count(0)
