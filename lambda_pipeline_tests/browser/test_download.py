"""A download is exactly what was filtered, as `lambda-pipeline export raw` writes it."""

import io
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from playwright.sync_api import expect

from lambda_pipeline.serving.choices import Format, What
from lambda_pipeline.serving.export import export
from lambda_pipeline_tests.browser.reader import LOADING, Reader
from lambda_pipeline_tests.browser.stage import Stage

pytestmark = pytest.mark.browser


def downloaded(reader: Reader, button: str) -> bytes:
    """What a button in the box of the downloads gives."""
    panel, box = reader.panel("Raw Data"), reader.page.get_by_test_id("stPopoverBody")
    panel.get_by_test_id("stPopoverButton").click()
    with reader.page.expect_download(timeout=LOADING) as waiting:
        box.get_by_role("button", name=button).click(timeout=LOADING)
    return waiting.value.path().read_bytes()


def test_the_download_is_what_export_writes_of_the_same_rows(reader: Reader, stage: Stage) -> None:
    clock = stage.city.clock()
    day = clock.city_date(datetime.now(UTC)) - timedelta(days=1)
    start = clock.day_start(day)
    written = io.BytesIO()
    export(stage.serving, What.RAW, start, clock.day_start(day + timedelta(days=1)), Format.CSV, written)

    span = {"from": day, "to": day}
    reader.visit(stage.url, tab="raw", **span)
    assert downloaded(reader, "As CSV") == written.getvalue()

    name = stage.city.locations[2].name
    reader.visit(stage.url, tab="raw", location=name, level=["2", "3"], **span)
    expect(reader.panel("Raw Data").get_by_test_id("stDataFrame").first).to_be_visible(timeout=LOADING)
    whole = pd.read_csv(io.BytesIO(written.getvalue()))
    expected = whole[(whole["location"] == name) & whole["traffic_level"].isin([2, 3])].reset_index(drop=True)
    found = pd.read_csv(io.BytesIO(downloaded(reader, "As CSV")))
    assert len(found) > 0
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
