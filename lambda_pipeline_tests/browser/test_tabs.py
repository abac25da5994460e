"""All four tabs open in a real browser, show their charts and no errors, at a desk's width and at a phone's."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

pytestmark = pytest.mark.browser

TABS = {"Heatmaps": 2, "Peak Hours Analysis": 11, "Statistics": 6, "Raw Data": 0}  # charts on each
SIZES = {"desk": (1440, 900), "phone": (390, 844)}
LOADING = 60_000  # milliseconds


@dataclass
class Opened:
    """A page, and what its console and its scripts complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complain(message.text)

    def complain(self, text: object) -> None:
        self.complaints.append(str(text))


@pytest.fixture(params=SIZES)
def opened(request: pytest.FixtureRequest, chromium: Browser, dashboard_url: str) -> Iterator[Opened]:
    width, height = SIZES[request.param]
    page = chromium.new_page(viewport={"width": width, "height": height})
    result = Opened(page)
    page.on("console", result.on_console)
    page.on("pageerror", result.complain)
    page.goto(dashboard_url)
    expect(page.get_by_role("tab")).to_have_count(len(TABS), timeout=LOADING)
    yield result
    page.close()


def test_every_tab_opens_with_its_charts_and_without_errors(opened: Opened) -> None:
    page = opened.page
    assert [tab.inner_text() for tab in page.get_by_role("tab").all()] == list(TABS)
    for name, charts in TABS.items():
        page.get_by_role("tab", name=name, exact=True).click()
        panel = page.get_by_role("tabpanel", name=name, exact=True)
        expect(panel).to_be_visible()
        drawn = panel.locator(".js-plotly-plot .main-svg:first-child")
        expect(drawn).to_have_count(charts, timeout=LOADING)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
        assert is_within_its_width(page), f"{name} is wider than the window"
    assert opened.complaints == []


def test_the_maps_are_drawn_and_point_at_real_places(opened: Opened) -> None:
    maps = opened.page.locator(".js-plotly-plot canvas.maplibregl-canvas")
    expect(maps).to_have_count(2, timeout=LOADING)
    opened.page.wait_for_function(
        "() => [...document.querySelectorAll('.js-plotly-plot')].filter(d => d._fullLayout?.map?._subplot?.map)"
        ".filter(d => d._fullLayout.map._subplot.map.getZoom() > 3).length == 2",  # fitted to the points
        timeout=LOADING,
    )
    assert opened.complaints == []


def test_the_raw_data_is_a_table_that_can_be_downloaded(opened: Opened) -> None:
    page = opened.page
    page.get_by_role("tab", name="Raw Data", exact=True).click()
    panel = page.get_by_role("tabpanel", name="Raw Data", exact=True)
    expect(panel.get_by_test_id("stDataFrame").first).to_be_visible(timeout=LOADING)
    panel.get_by_test_id("stPopoverButton").click()
    with page.expect_download() as waiting:
        page.get_by_test_id("stPopoverBody").get_by_role("button", name="As CSV").click(timeout=LOADING)
    header = waiting.value.path().read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith("timestamp,location,latitude,longitude,aqi_value,aqi_category,traffic_level")


def test_streamlits_own_buttons_are_not_on_the_page(opened: Opened) -> None:
    expect(opened.page.get_by_test_id("stAppDeployButton")).to_have_count(0)
    expect(opened.page.get_by_test_id("stMainMenu")).to_have_count(0)


def is_within_its_width(page: Page) -> bool:
    return bool(
        page.evaluate(
            "() => { const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth <= m.clientWidth }"
        )
    )
