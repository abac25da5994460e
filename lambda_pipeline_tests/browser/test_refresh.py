"""The page brings what is new by itself, and whatever the reader has done with it stays as it is."""

import re

import pytest
from playwright.sync_api import expect

from lambda_pipeline_tests.browser.reader import LOADING, Reader
from lambda_pipeline_tests.browser.stage import Stage

pytestmark = pytest.mark.browser

NUMBERS = "() => [...document.querySelectorAll('.js-plotly-plot')][1].data.flatMap((trace) => trace.text ?? [])"


def test_a_new_observation_reaches_the_map_that_the_reader_has_zoomed(reader: Reader, stage: Stage) -> None:
    name = stage.city.locations[0].name
    reader.visit(stage.url, location=name)
    reader.expect_maps()
    reader.page.evaluate("() => { window.firstMap = document.querySelector('.js-plotly-plot') }")
    reader.zoom_in()
    zooms = reader.zooms()
    stage.observe(name, aqi=387, level=5)
    reader.page.wait_for_function(f"() => ({NUMBERS})().includes('387')", timeout=LOADING)
    assert reader.zooms() == pytest.approx(zooms, abs=0.01)
    assert reader.page.evaluate("() => window.firstMap === document.querySelector('.js-plotly-plot')")
    assert reader.params["location"] == [name]
    expect(reader.sidebar.locator("[data-tag]")).to_have_count(1)


def test_a_new_observation_reaches_the_open_tab_with_its_filter(reader: Reader, stage: Stage) -> None:
    name = stage.city.locations[3].name
    reader.visit(stage.url, tab="raw", location=name, layer="speed")
    panel = reader.panel("Raw Data")
    note = panel.get_by_text(re.compile(r"^Rows 1 to \d+ of \d+\.$"))
    expect(note).to_be_visible(timeout=LOADING)
    rows = int(re.findall(r"\d+", note.inner_text())[-1])
    stage.observe(name, aqi=90, level=3)
    expect(note).to_have_text(f"Rows 1 to {rows + 1} of {rows + 1}.", timeout=LOADING)
    expect(reader.page.get_by_role("tab", name="Raw Data")).to_have_attribute("aria-selected", "true")
    assert reader.params == {"tab": ["raw"], "location": [name], "layer": ["speed"]}
