"""The dashboard with --sign-in, a real browser, and a provider of OpenID Connect."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline_tests.browser.provider import CLIENT, Provider, running_provider
from lambda_pipeline_tests.browser.stage import answers
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.browser
WAIT = 30_000  # milliseconds


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        yield running


@pytest.fixture
def url(database: Database, provider: Provider, tmp_path: Path) -> Iterator[str]:
    """The dashboard over an empty database, for those of city.example."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text(
        f"""
        [allowed]
        who = ["@city.example"]
        [auth]
        redirect_uri = "{url}/oauth2callback"
        cookie_secret = "{"0123456789abcdef" * 4}"
        client_id = "{CLIENT}"
        client_secret = "whatever"
        server_metadata_url = "{provider.metadata_url}"
        """
    )
    environment = os.environ | {
        "LAMBDA_READER_DATABASE_URL": database.url("lambda_reader"),
        "LAMBDA_TILE_URL": "none",
        "LAMBDA_DASHBOARD_PORT": str(port),
    }
    log = tmp_path / "streamlit.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "lambda_pipeline", "dashboard", "--sign-in"],
            cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        assert wait_until(lambda: answers(url), timeout=60, interval=0.1), log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_the_page_is_for_those_who_sign_in_and_are_allowed(url: str, provider: Provider, chromium: Browser) -> None:
    for email, is_let_in in (("budi@elsewhere.example", False), ("ani@city.example", True)):
        provider.claims = {"email": email, "email_verified": True}
        with chromium.new_context() as context:
            page = context.new_page()
            page.goto(url)
            expect(page.get_by_role("heading", name="Please sign in")).to_be_visible(timeout=WAIT)
            expect(page.get_by_text("Jakarta")).to_have_count(0)
            page.get_by_role("button", name="Sign in").click()
            if is_let_in:
                expect(page.get_by_text("Jakarta").first).to_be_visible(timeout=WAIT)
            else:
                expect(page.get_by_text("not among those who may see this page")).to_be_visible(timeout=WAIT)
                expect(page.get_by_text("Jakarta")).to_have_count(0)
