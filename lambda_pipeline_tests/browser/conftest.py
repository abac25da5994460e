"""Chromium, and a dashboard over a real database with two simulated days in both layers."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline_tests.browser.chromium import ARGUMENTS, find_chromium
from lambda_pipeline_tests.browser.reader import Reader, reading
from lambda_pipeline_tests.browser.stage import Stage, make_database, staged

DAYS = 2


@pytest.fixture(scope="session")
def stage(postgres: EmbeddedPostgres, jakarta: City, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The real dashboard that all browser tests share."""
    make_database(postgres, "dashboard")
    log = tmp_path_factory.mktemp("dashboard") / "streamlit.log"
    with staged(postgres, "dashboard", jakarta, DAYS, log) as stage:
        yield stage


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The machine's own Chromium, headless."""
    path = find_chromium()
    if path is None:
        pytest.fail("no Chromium on this machine: run `make browser`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def reader(chromium: Browser) -> Iterator[Reader]:
    """A reader at a desk, who has not opened the page yet."""
    with reading(chromium) as reader:
        yield reader
