"""axe-core finds no serious fault on any tab, in either theme."""

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect

from lambda_pipeline_tests.browser.reader import LOADING, TABS, reading
from lambda_pipeline_tests.browser.stage import Stage

pytestmark = pytest.mark.browser

SERIOUS = {"serious", "critical"}


def faults(page: Page) -> list[str]:
    """What axe-core calls serious or critical: the rule, and the elements."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['target']} {node['html'][:160]} {node.get('failureSummary', '')[:300]}"
        for fault in found
        if fault["impact"] in SERIOUS
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_can_be_read_by_everybody(chromium: Browser, stage: Stage, scheme: Literal["light", "dark"]) -> None:
    with reading(chromium, scheme=scheme) as reader:
        reader.visit(stage.url)
        for name in TABS:
            panel = reader.open_tab(name)
            if name == "Raw Data":
                expect(panel.get_by_test_id("stDataFrame").first).to_be_visible(timeout=LOADING)
            assert faults(reader.page) == [], name
