"""A reader of the page: a tab of the browser, what it complained about, and what a reader does."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode, urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

TABS = {"Heatmaps": 2, "Peak Hours Analysis": 11, "Statistics": 6, "Raw Data": 0}  # charts on each
SIZES = {"desk": (1440, 1000), "phone": (390, 844)}
LOADING = 60_000  # milliseconds

_ZOOMS = """() => [...document.querySelectorAll('.js-plotly-plot')]
  .map((drawn) => drawn._fullLayout?.map?._subplot?.map?.getZoom() ?? 0)"""
_IS_WITHIN = """() => {
  const main = document.querySelector('[data-testid=stMain]')
  return main.scrollWidth <= main.clientWidth
}"""


class Reader:
    """A page and its complaints: whatever its console and its scripts call an error."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def visit(self, url: str, **params: Any) -> None:
        """Open the page in English, or as `params` say, and wait for its tabs."""
        self.page.goto(f"{url}?{urlencode({'lang': 'en', **params}, doseq=True)}")
        expect(self.page.get_by_role("tab")).to_have_count(len(TABS), timeout=LOADING)

    def open_tab(self, name: str) -> Locator:
        """Open a tab by its English name and wait for its charts; returns what it holds."""
        tab = self.page.get_by_role("tab", name=name, exact=True)
        for _ in range(5):  # a click may come while the page is drawn anew, and be lost
            tab.click()
            with suppress(AssertionError):
                expect(tab).to_have_attribute("aria-selected", "true", timeout=3_000)
                self.page.wait_for_timeout(500)
                expect(tab).to_have_attribute("aria-selected", "true", timeout=100)
                break
        panel = self.panel(name)
        self.expect_charts(panel, TABS[name])
        return panel

    def panel(self, name: str) -> Locator:
        """What a tab holds, once it is open."""
        panel = self.page.get_by_role("tabpanel", name=name, exact=True)
        expect(panel).to_be_visible(timeout=LOADING)
        return panel

    def expect_charts(self, panel: Locator, count: int) -> None:
        """Wait until so many charts are drawn, and nothing went wrong."""
        expect(panel.locator(".js-plotly-plot .main-svg:first-child")).to_have_count(count, timeout=LOADING)
        expect(self.page.get_by_test_id("stException")).to_have_count(0)
        expect(self.page.get_by_test_id("stAlertContentError")).to_have_count(0)

    def choose(self, within: Locator, label: str, option: str) -> None:
        """Choose an option of the box with this label."""
        box = within.locator("[data-testid=stSelectbox], [data-testid=stMultiSelect]").filter(
            has=self.page.get_by_test_id("stWidgetLabel").filter(has_text=re.compile(f"^{re.escape(label)}"))
        )
        box.locator("input").click()
        self.page.get_by_role("option", name=option, exact=True).click(timeout=LOADING)
        self.page.keyboard.press("Escape")  # a box of several stays open

    @property
    def sidebar(self) -> Locator:
        return self.page.get_by_test_id("stSidebar")

    @property
    def params(self) -> dict[str, list[str]]:
        """What the address says."""
        return parse_qs(urlsplit(self.page.url).query)

    def expect_params(self, **expected: str) -> None:
        """Wait until the address says this, among others."""
        found = " && ".join(f"params.get({name!r}) === {value!r}" for name, value in expected.items())
        self.page.wait_for_function(
            f"() => {{ const params = new URLSearchParams(location.search); return {found} }}", timeout=LOADING
        )

    def zooms(self) -> Any:
        """Zoom of each map that is drawn."""
        return self.page.evaluate(_ZOOMS)

    def expect_maps(self) -> None:
        """Wait until both maps are drawn and fitted to the points."""
        self.page.wait_for_function(
            f"() => {{ const zooms = ({_ZOOMS})(); return zooms.length == 2 && Math.min(...zooms) > 3 }}",
            timeout=LOADING,
        )

    def zoom_in(self) -> float:
        """Zoom the traffic map in by its button; returns the zoom."""
        before = self.zooms()[0]
        traffic = self.page.locator(".js-plotly-plot").first
        traffic.hover()
        traffic.locator(".modebar-btn[data-title='Zoom in']").click()
        self.page.wait_for_function(
            f"(before) => ({_ZOOMS})()[0] > before + 0.4"
            " && !document.querySelector('.js-plotly-plot')._fullLayout.map._subplot.map.isMoving()",
            arg=before,
            timeout=LOADING,
        )
        return float(self.zooms()[0])

    @property
    def is_within_its_width(self) -> bool:
        return bool(self.page.evaluate(_IS_WITHIN))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location.get('url', '')})")


@contextmanager
def reading(
    chromium: Browser,
    size: str = "desk",
    scheme: Literal["light", "dark"] = "light",
    locale: str = "en-GB",
    forgiven: tuple[str, ...] = (),
) -> Iterator[Reader]:
    """A reader with a window of one of `SIZES`; nothing may be complained about but the `forgiven`.

    That is what a complaint has in it.
    """
    width, height = SIZES[size]
    page = chromium.new_page(
        viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale, accept_downloads=True
    )
    reader = Reader(page)
    try:
        yield reader
        complaints = [text for text in reader.complaints if not any(part in text for part in forgiven)]
        assert complaints == [], complaints
    finally:
        page.close()
