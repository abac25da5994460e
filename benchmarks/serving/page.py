"""The dashboard in a real browser: how long until a view is complete, beside a blank page of Streamlit.

Every first view is a new visitor's, with nothing in the browser's cache; the page's own reads are older than it shows
them, so each view asks the database. Times are the browser's, from where it starts to ask, or from where an option is
chosen, to where the page runs no more and its charts stand.
"""

import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.report import Row, ratios
from benchmarks.servers import Database
from lambda_pipeline.local.dashboard import dashboard_command
from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline_tests.browser.chromium import ARGUMENTS, find_chromium

SIZE = {"width": 1440, "height": 1000}
PATIENCE = 120_000  # milliseconds
OLD = 11.0  # seconds after which the page reads again: a little more than between its refreshes
STATISTICS_CHARTS = 6
BLANK = Path(__file__).with_name("blank.py")

_IDLE = "document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
_BLANK = f"() => {_IDLE} && document.body.innerText.includes('blank') && performance.now()"
# Complete are maps that show so many places, have drawn all that they are going to, and were fitted to them.
_MAPS = f"""(places) => {_IDLE} && (() => {{
  const drawn = [...document.querySelectorAll('.js-plotly-plot')]
  const shown = (plot) => plot.data.reduce((sum, trace) => sum + (trace.customdata?.length ?? 0), 0)
  const stands = (plot) => plot._fullLayout?.map?._subplot?.map?.loaded() && shown(plot) === places
  return drawn.length === 2 && drawn.every(stands) && performance.now()
}})()"""
_STATISTICS = f"""(places) => {_IDLE} && (() => {{
  const drawn = [...document.querySelectorAll('.js-plotly-plot')].filter((plot) => plot.querySelector('.main-svg'))
  return drawn.length === {STATISTICS_CHARTS} && drawn[3].data[0].y.length === Math.min(places, 20)
    && performance.now()
}})()"""

Figures = Mapping[str, Sequence[float]]


def measure(database: Database, names: Sequence[str], runs: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds by what was measured, `runs` each and turn by turn; nothing where there is no Chromium.

    `names` are all locations of the city.
    """
    path = find_chromium()
    if path is None:
        say("no Chromium: the page is not measured (`make browser` installs it)")
        return {}
    figures: dict[str, list[float]] = defaultdict(list)
    with (
        _served(dashboard_command, database) as page_url,
        _served(_blank_command, database) as blank_url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        for number in range(-1, runs):  # one to warm up
            chosen = names[(number + 1) * (len(names) // (runs + 1))]
            found = _round(browser, page_url, blank_url, len(names), chosen)
            say(f"round {number + 1}, " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items()))
            for name, seconds in found.items() if number >= 0 else ():
                figures[name].append(seconds)
        browser.close()
    return figures


def page_rows(figures: Figures) -> list[Row]:
    """A row for every figure, beside the blank page's."""
    named = {
        "first": ("the page: first view complete", 2.0),
        "maps.one": ("the page: one location chosen, maps", 1.0),
        "maps.all": ("the page: all locations again, maps", 1.0),
        "statistics.one": ("the page: one location chosen, statistics", 1.0),
        "statistics.all": ("the page: all locations again, statistics", 1.0),
    }
    return [_row(figures, name, what, goal) for name, (what, goal) in named.items() if name in figures]


def _row(figures: Figures, name: str, what: str, goal: float) -> Row:
    median, blank = statistics.median(figures[name]), statistics.median(figures["blank"])
    is_first = name == "first"
    return Row(
        what,
        f"{median:.2f} s ({min(figures[name]):.2f} to {max(figures[name]):.2f})",
        f"a blank Streamlit app: {blank:.2f} s" if is_first else "",
        f"{statistics.median(ratios(figures[name], figures['blank'])):.2f}" if is_first else "",
        f"under {goal:g} s",
        median < goal,
    )


def _round(browser: Browser, page_url: str, blank_url: str, places: int, chosen: str) -> dict[str, float]:
    found = {}
    with _visitor(browser) as page:
        page.goto(blank_url)
        found["blank"] = _when(page, _BLANK)
    time.sleep(OLD)
    with _visitor(browser) as page:
        page.goto(f"{page_url}?lang=en")
        found["first"] = _when(page, _MAPS, places)
        found["maps.one"] = _choose(page, chosen, _MAPS)
        time.sleep(OLD)
        found["maps.all"] = _choose_all(page, _MAPS, places)
    with _visitor(browser) as page:
        page.goto(f"{page_url}?lang=en&tab=statistics")
        _when(page, _STATISTICS, places)
        found["statistics.one"] = _choose(page, chosen, _STATISTICS)
        time.sleep(OLD)
        found["statistics.all"] = _choose_all(page, _STATISTICS, places)
    return found


def _choose(page: Page, name: str, complete: str) -> float:
    """Seconds from choosing one location to where it is shown."""
    box = page.get_by_test_id("stSidebar").get_by_test_id("stMultiSelect").locator("input")
    box.click()
    box.fill(name)
    page.get_by_role("option", name=name, exact=True).wait_for()
    start = float(page.evaluate("() => performance.now()"))
    box.press("Enter")
    return _when(page, complete, 1) - start / 1000


def _choose_all(page: Page, complete: str, places: int) -> float:
    """Seconds from taking that choice back."""
    box = page.get_by_test_id("stSidebar").get_by_test_id("stMultiSelect").locator("input")
    box.click()
    start = float(page.evaluate("() => performance.now()"))
    box.press("Backspace")
    return _when(page, complete, places) - start / 1000


def _when(page: Page, complete: str, places: int = 0) -> float:
    """Seconds since the page was asked for, once it is complete."""
    return float(page.wait_for_function(complete, arg=places, timeout=PATIENCE).json_value()) / 1000


@contextmanager
def _visitor(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport=SIZE, locale="en-GB")  # type: ignore[arg-type]
    try:
        yield context.new_page()
    finally:
        context.close()


def _blank_command(listen: str, port: int) -> list[str]:
    """The blank app, started as the dashboard is."""
    command = dashboard_command(listen, port)
    command[command.index("run") + 1] = str(BLANK)
    return command


@contextmanager
def _served(command: Callable[[str, int], list[str]], database: Database) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "LAMBDA_READER_DATABASE_URL": database.url("lambda_reader"),
        "LAMBDA_TILE_URL": "none",
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command("127.0.0.1", port), env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            if not wait_until(lambda: _answers(url), timeout=60, interval=0.1):
                log.seek(0)
                raise RuntimeError(f"Streamlit does not answer:\n{log.read().decode(errors='replace')}")
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/_stcore/health", timeout=1).ok
    except requests.RequestException:
        return False
