"""The maps in a real browser: new data reach the same map, and the view that the reader has moved to is kept."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser

LOADING = 60_000  # milliseconds
ZOOM = """() => [...document.querySelectorAll('.js-plotly-plot')]
  .map((drawn) => drawn._fullLayout?.map?._subplot?.map?.getZoom() ?? 0)"""


@pytest.fixture
def page(chromium: Browser, dashboard_url: str) -> Iterator[Page]:
    page = chromium.new_page(viewport={"width": 1440, "height": 1100})
    page.goto(f"{dashboard_url}?lang=en")
    page.wait_for_function(f"() => {{ const zooms = ({ZOOM})(); return zooms.length == 2 && Math.min(...zooms) > 3 }}")
    yield page
    page.close()


def zooms(page: Page) -> Any:
    return page.evaluate(ZOOM)


def test_the_readers_zoom_outlasts_new_data_in_the_same_map(page: Page) -> None:
    before = zooms(page)
    page.evaluate("() => { window.firstMap = document.querySelector('.js-plotly-plot') }")
    traffic = page.locator(".js-plotly-plot").first
    traffic.hover()
    traffic.locator(".modebar-btn[data-title='Zoom in']").click()
    page.wait_for_function(f"(before) => ({ZOOM})()[0] > before + 0.4", arg=before[0])
    moved = zooms(page)
    slider = page.get_by_test_id("stSlider").locator("[role=slider], input").first
    slider.focus()
    slider.press("ArrowLeft")  # other data: the hour before
    expect(traffic).to_contain_text("average of the hour", timeout=LOADING)
    assert zooms(page) == pytest.approx(moved, abs=0.01)
    assert page.evaluate("() => window.firstMap === document.querySelector('.js-plotly-plot')")


def test_the_replay_steps_by_itself_and_pauses(page: Page) -> None:
    page.get_by_role("button", name="Replay").click()
    notes = page.get_by_test_id("stCaptionContainer").filter(has_text="averages of the hour")
    expect(notes).to_have_count(1, timeout=LOADING)
    first = notes.inner_text()
    expect(notes).not_to_have_text(first, timeout=LOADING)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Replay")).to_be_visible(timeout=LOADING)
    # nothing of another server was asked for: the library that draws the maps comes with the page
    loaded = page.evaluate("() => performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host)")
    assert set(loaded) == {page.evaluate("() => location.host")}
