"""What a reader chooses: it is shown, it stands in the address, and whoever opens that address sees the same."""

import re

import pytest
from playwright.sync_api import Browser, Locator, expect

from lambda_pipeline_tests.browser.reader import LOADING, Reader, reading
from lambda_pipeline_tests.browser.stage import Stage

pytestmark = pytest.mark.browser


def chips(within: Locator) -> list[str]:
    """What is chosen in boxes of several."""
    return [str(chip.get_attribute("aria-label")) for chip in within.locator("[data-tag]").all()]


def test_a_view_that_is_shared_opens_as_it_was_left(chromium: Browser, reader: Reader, stage: Stage) -> None:
    name = stage.city.locations[0].name
    reader.visit(stage.url)
    panel = reader.open_tab("Raw Data")
    note = panel.get_by_text(re.compile(r"^Rows 1 to 100 of "))
    expect(note).to_be_visible(timeout=LOADING)
    everything = note.inner_text()
    reader.choose(reader.sidebar, "Locations", name)
    reader.expect_params(tab="raw", location=name)
    reader.choose(panel, "Layer", "batch")
    reader.choose(panel, "Sort by", "AQI")
    reader.expect_params(layer="batch", sort="aqi_value")
    expect(note).not_to_have_text(everything, timeout=LOADING)
    left = note.inner_text()
    with reading(chromium) as other:
        other.page.goto(reader.page.url)
        panel = other.panel("Raw Data")
        expect(panel.get_by_text(left, exact=True)).to_be_visible(timeout=LOADING)
        expect(other.sidebar.locator("[data-tag]")).to_have_count(1, timeout=LOADING)
        assert chips(other.sidebar) == [name]
        assert chips(panel) == ["batch"]
        assert other.params == reader.params


def test_one_location_is_all_that_the_maps_and_charts_show(reader: Reader, stage: Stage) -> None:
    name = stage.city.locations[1].name
    reader.visit(stage.url)
    reader.expect_maps()
    reader.choose(reader.sidebar, "Locations", name)
    reader.expect_params(location=name)
    reader.page.wait_for_function(
        """(name) => [...document.querySelectorAll('.js-plotly-plot')].every((drawn) =>
          drawn.data.filter((trace) => trace.name === 'names').flatMap((trace) => trace.text)
            .map((text) => text.replace('<br>', ' ').replace('\\n', ' ')).join() === name)""",
        arg=name,
        timeout=LOADING,
    )
    panel = reader.open_tab("Statistics")
    ranked = panel.locator(".js-plotly-plot").nth(3).locator(".ytick")
    expect(ranked).to_have_count(1, timeout=LOADING)
    expect(ranked).to_contain_text(name.split()[0])


def test_the_language_is_that_of_words_and_numbers(reader: Reader, stage: Stage) -> None:
    reader.visit(stage.url, tab="statistics")
    cards = reader.page.get_by_test_id("stMetric")
    served = cards.filter(has_text="Observations served").get_by_test_id("stMetricValue")
    expect(served).to_have_text(re.compile(r"^\d+,\d{3}$"), timeout=LOADING)
    english = served.inner_text()
    reader.choose(reader.sidebar, "Language", "Bahasa Indonesia")
    reader.expect_params(lang="id", tab="statistics")
    expect(reader.page.get_by_role("tab")).to_have_text(
        ["Peta Panas", "Analisis Jam Sibuk", "Statistik", "Data Mentah"]
    )
    expect(cards.get_by_test_id("stMetricValue").filter(has_text=re.compile(r"^\d+\.\d{3}$")).first).to_have_text(
        english.replace(",", "."), timeout=LOADING
    )
    expect(cards.get_by_test_id("stMetricValue").filter(has_text=re.compile(r"^\d+,\d km/")).first).to_be_visible()


def test_the_browsers_own_language_is_the_first(chromium: Browser, stage: Stage) -> None:
    with reading(chromium, locale="id-ID") as reader:
        reader.page.goto(stage.url)
        expect(reader.page.get_by_role("tab", name="Data Mentah")).to_be_visible(timeout=LOADING)
