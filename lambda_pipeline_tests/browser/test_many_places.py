"""The map of a big city in a real browser: small points, and numbers once the reader has come near."""

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import plotly
import pytest
from playwright.sync_api import Browser, Page

from dashboard import live_map
from dashboard.hover_cards import CardWriter
from dashboard.map_ground import MapOptions
from dashboard.maps import conditions_map
from dashboard.measures import AQI
from dashboard.texts import Texts
from dashboard.units import KM_H
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline_tests.browser.reader import LOADING
from lambda_pipeline_tests.dashboard.many_places import many_places

pytestmark = pytest.mark.browser

PLACES = 2000
PAGE = """<!doctype html><meta charset="utf-8"><title>map</title>
<div id="map" style="width: 700px"></div>
<script type="module">
  import show from "./live_map.js"
  const data = await (await fetch("data.json")).arrayBuffer()
  show({ parentElement: document.getElementById("map"), data, setTriggerValue: () => {} })
</script>"""
INNER = "document.querySelector('.js-plotly-plot')._fullLayout.map._subplot.map"
DRAWN = (
    f"() => document.querySelector('.js-plotly-plot')?.ariaBusy === 'false' && {INNER}.loaded() && {INNER}.getZoom()"
)
WRITTEN = (
    f"() => {INNER}.getLayer('numbers')"
    f" ? {INNER}.queryRenderedFeatures({{ layers: ['numbers'] }}).map((it) => it.properties.text) : []"
)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A page with nothing but the map, as the dashboard's component draws it."""
    cards = CardWriter(AQI, CityClock("Asia/Jakarta"), Texts(), KM_H)
    figure = conditions_map(many_places(PLACES), cards, MapOptions())
    words = {
        "config": {}, "library": "plotly.min.js", "height": figure.layout.height, "view": "", "alt": "map",
        "failure": "failed", "step": None, "after": 0,
    }  # fmt: skip
    (tmp_path / "index.html").write_text(PAGE, encoding="utf-8")
    (tmp_path / "data.json").write_text(f'{{"figure": {figure.to_json()}, "words": {json.dumps(words)}}}', "utf-8")
    shutil.copy(Path(live_map.__file__).with_suffix(".js"), tmp_path)
    shutil.copy(Path(plotly.__file__).parent / "package_data" / "plotly.min.js", tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/index.html"
        server.shutdown()
        thread.join(10)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 900, "height": 800})
    yield context.new_page()
    context.close()


def test_numbers_are_written_once_the_reader_has_come_near_and_go_when_he_leaves(page: Page, url: str) -> None:
    page.goto(url)
    zoom = page.wait_for_function(DRAWN, timeout=LOADING).json_value()
    assert page.evaluate("() => document.querySelector('.js-plotly-plot').data.length") == 1
    assert page.evaluate(WRITTEN) == []
    near = "document.querySelector('.js-plotly-plot').calcdata[0][100].lonlat"
    page.evaluate(f"() => {{ {INNER}.jumpTo({{ center: {near}, zoom: 17 }}) }}")
    page.wait_for_function(f"() => ({WRITTEN})().length > 0", timeout=LOADING)
    texts = page.evaluate("() => document.querySelector('.js-plotly-plot').data[0].text")
    assert set(page.evaluate(WRITTEN)) <= set(texts)
    page.evaluate(f"() => {{ {INNER}.jumpTo({{ zoom: {zoom} }}) }}")
    page.wait_for_function(f"() => ({WRITTEN})().length === 0", timeout=LOADING)


def test_every_band_is_in_the_legend_as_text(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_function(DRAWN, timeout=LOADING)
    entries = [entry.inner_text() for entry in page.locator(".live-map-legend li").all()]
    assert entries == [band.label for band in AQI.bands(Texts())] + ["Unknown"]


def test_the_first_view_shows_every_place(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_function(DRAWN, timeout=LOADING)
    assert page.evaluate(
        f"() => document.querySelector('.js-plotly-plot').calcdata[0]"
        f".every((point) => {INNER}.getBounds().contains(point.lonlat))"
    )
