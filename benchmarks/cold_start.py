"""`python -m benchmarks.cold_start`, or `make bench-start`: from `lambda-pipeline demo` to data on the dashboard.

Each run has a data folder of its own, so it makes both servers' files, a week of history and its batch results anew;
Kafka's jars are downloaded before. The dashboard is open in a browser from the moment at which it answers. It
rewrites its table of docs/benchmarks.md.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, sync_playwright

from benchmarks.log import say
from benchmarks.report import Row, markdown, plain, replace_between, summary_table, with_spread
from benchmarks.speed import PAGE
from benchmarks.stamp import machine
from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.jars import ensure_jars
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline.settings import load_settings
from lambda_pipeline_tests.browser.chromium import ARGUMENTS, find_chromium
from lambda_pipeline_tests.browser.stage import answers

GOAL = 45.0  # seconds
PATIENCE = 300.0
_STARTED = "Everything runs"
# The header counts observations, and both maps stand.
_HAS_DATA = """() => /Observations served\\s+[1-9]/.test(document.body.innerText)
  && [...document.querySelectorAll('.js-plotly-plot')]
    .filter((plot) => plot._fullLayout?.map?._subplot?.map?.loaded()).length === 2"""


def main() -> None:
    """Measure, print, and write the page."""
    options = _options()
    path = find_chromium()
    if path is None:
        sys.exit("There is no Chromium to look at the dashboard with: `make browser` installs it.")
    ensure_jars(load_settings(None).cache)
    figures: dict[str, list[float]] = defaultdict(list)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        for number in range(options.runs):
            found = _start(browser)
            say(f"run {number + 1}: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.items()))
            for name, seconds in found.items():
                figures[name].append(seconds)
        browser.close()
    table = summary_table(goal_rows(figures))
    stamp = f"- {machine(options.runs)}, lowest to highest in parentheses."
    print(plain(table))
    print(stamp)
    text = f"{stamp}\n\n{markdown(table)}"
    PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), "start", text), encoding="utf-8")
    say(f"wrote {PAGE}")


def goal_rows(figures: Mapping[str, Sequence[float]]) -> list[Row]:
    """The figures as the table of goals. Pure."""
    return [
        Row("the dashboard answers", with_spread(figures["answers"], " s", 1)),
        Row(
            "its maps show data", with_spread(figures["data"], " s", 1), goal=f"under {GOAL:.0f} s",
            met=median(figures["data"]) < GOAL,
        ),
        Row("everything runs, Dagster too", with_spread(figures["all"], " s", 1)),
    ]  # fmt: skip


def _start(browser: Browser) -> dict[str, float]:
    """Seconds since the command: until the page answers, until a visitor sees data, until everything runs."""
    with tempfile.TemporaryDirectory(prefix="lambda-start-") as folder:
        log = Path(folder) / "demo.log"
        port = free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LAMBDA_")} | {
            "LAMBDA_HOME": str(Path(folder) / "home"),
            "LAMBDA_CACHE": str(load_settings(None).cache),
            "LAMBDA_DASHBOARD_PORT": str(port),
            "LAMBDA_DAGSTER_PORT": str(free_port()),
            "LAMBDA_TILE_URL": "none",
        }
        started = time.monotonic()
        with log.open("wb") as out:
            command = [sys.executable, "-m", "lambda_pipeline", "demo"]
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(lambda: answers(url), process, log)
            found = {"answers": time.monotonic() - started}
            page = browser.new_page()
            page.goto(f"{url}?lang=en")
            page.wait_for_function(_HAS_DATA, timeout=PATIENCE * 1000)
            found["data"] = time.monotonic() - started
            page.close()
            _wait(lambda: _STARTED in log.read_text(), process, log)
            found["all"] = time.monotonic() - started
            return found
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)


def _wait(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises RuntimeError with the demo's last words where it ends or takes too long."""
    if not wait_until(lambda: condition() or process.poll() is not None, PATIENCE, 0.05) or process.poll() is not None:
        raise RuntimeError(f"The demo did not get there: {log.read_text()[-2000:]}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="starts, of which the median counts (3)")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
