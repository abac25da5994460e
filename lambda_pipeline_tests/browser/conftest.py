"""Chromium, and the address of a running dashboard."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

# WebGL without a graphics card: otherwise headless Chromium leaves the maps out
FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
]


@pytest.fixture(scope="session")
def dashboard_url() -> str:
    """Address of the dashboard under test, which has data. For now somebody else starts it.

    With LAMBDA_TILE_URL=none: a tile server out of reach is an error in the browser's console.
    """
    url = os.environ.get("LAMBDA_TEST_DASHBOARD_URL")
    if not url:
        pytest.skip("LAMBDA_TEST_DASHBOARD_URL names no running dashboard")
    return url


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The machine's own Chromium or Chrome, headless."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.fail("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
