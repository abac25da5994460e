"""The maps in a real browser: new data reach the same map, and the view that the reader has moved to is kept."""

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from lambda_pipeline_tests.browser.reader import LOADING, Reader, reading
from lambda_pipeline_tests.browser.stage import Stage, page_over

pytestmark = pytest.mark.browser


def test_the_readers_zoom_outlasts_new_data_in_the_same_map(reader: Reader, stage: Stage) -> None:
    reader.visit(stage.url)
    reader.expect_maps()
    page = reader.page
    page.evaluate("() => { window.firstMap = document.querySelector('.js-plotly-plot') }")
    reader.zoom_in()
    moved = reader.zooms()
    slider = page.get_by_test_id("stSlider").locator("[role=slider], input").first
    slider.focus()
    slider.press("ArrowLeft")  # other data: the hour before
    expect(page.locator(".js-plotly-plot").first).to_contain_text("average of the hour", timeout=LOADING)
    assert reader.zooms() == pytest.approx(moved, abs=0.01)
    assert page.evaluate("() => window.firstMap === document.querySelector('.js-plotly-plot')")


def test_the_replay_steps_by_itself_and_pauses(reader: Reader, stage: Stage) -> None:
    reader.visit(stage.url)
    page = reader.page
    page.get_by_role("button", name="Replay").click()
    notes = page.get_by_test_id("stCaptionContainer").filter(has_text="averages of the hour")
    expect(notes).to_have_count(1, timeout=LOADING)
    first = notes.inner_text()
    page.wait_for_function(  # in the page itself, which a busy machine shows late
        "(first) => [...document.querySelectorAll('[data-testid=stCaptionContainer]')]"
        ".some((note) => note.innerText.includes('averages of the hour') && note.innerText !== first)",
        arg=first, polling=50, timeout=LOADING,
    )  # fmt: skip
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Replay")).to_be_visible(timeout=LOADING)
    # nothing of another server was asked for: the library that draws the maps comes with the page
    loaded = page.evaluate("() => performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host)")
    assert set(loaded) == {page.evaluate("() => location.host")}


_NUMBERS = """() => document.querySelector('.js-plotly-plot')._fullLayout.map._subplot.map
  .queryRenderedFeatures().filter((feature) => feature.layer.type === 'symbol').length"""


def test_of_very_many_places_the_numbers_are_written_once_the_reader_is_near(chromium: Browser, tmp_path: Path) -> None:
    script = Path(__file__).with_name("many_places.py")
    with page_over("none", tmp_path / "streamlit.log", script=script) as url, reading(chromium) as reader:
        reader.visit(url)
        reader.expect_maps()
        page = reader.page
        expect(page.get_by_text("Zoom in for the numbers.")).to_be_visible()
        assert page.evaluate(_NUMBERS) == 0
        reader.zoom_in()
        page.wait_for_function(f"() => ({_NUMBERS})() > 0", timeout=LOADING)
        near = reader.zooms()[0]
        page.locator(".js-plotly-plot").first.locator(".modebar-btn[data-title='Zoom out']").click()
        page.wait_for_function(f"() => ({_NUMBERS})() === 0", timeout=LOADING)
        assert reader.zooms()[0] < near


class _HangUp(socketserver.BaseRequestHandler):
    """A tile server that hangs up on everybody, and notes that somebody came."""

    was_asked: threading.Event

    def handle(self) -> None:
        self.was_asked.set()


@pytest.fixture
def no_tiles() -> Iterator[tuple[str, threading.Event]]:
    """The address of a server that never gives a tile, and whether it was asked for one."""
    handler = type("HangUp", (_HangUp,), {"was_asked": threading.Event()})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler.was_asked
        server.shutdown()
        thread.join(10)


def test_tiles_out_of_reach_leave_the_points_on_a_plain_ground(
    chromium: Browser, stage: Stage, no_tiles: tuple[str, threading.Event], tmp_path: Path
) -> None:
    tiles, was_asked = no_tiles
    with (
        page_over(stage.reader_url, tmp_path / "streamlit.log", f"{tiles}/{{z}}/{{x}}/{{y}}.png") as url,
        reading(chromium, forgiven=(tiles, "Map error.")) as reader,
    ):
        reader.visit(url)
        reader.expect_maps()
        reader.page.wait_for_function(
            """(places) => [...document.querySelectorAll('.js-plotly-plot')].every(
              (plot) => new Set(plot._fullLayout.map._subplot.map.queryRenderedFeatures()
                .map((feature) => JSON.stringify(feature.geometry.coordinates))).size >= places)""",
            arg=len(stage.city.locations),
            timeout=LOADING,
        )
        assert was_asked.wait(30)
