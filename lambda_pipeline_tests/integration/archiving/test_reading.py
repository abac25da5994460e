"""Raw reads and exports are the same before and after a month was dropped: the same rows, in the same order."""

import io
from datetime import timedelta
from itertools import product

import pandas as pd
import pytest

from lambda_pipeline.archive.archive import Archive
from lambda_pipeline.errors import ArchiveNeededError
from lambda_pipeline.serving import archived as archived_rows
from lambda_pipeline.serving.choices import Format, What
from lambda_pipeline.serving.export import export
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.serving.raw_choice import EVERYTHING, Half, RawFilter, RawSort
from lambda_pipeline_tests.integration.archiving.days import archived
from lambda_pipeline_tests.integration.archiving.test_retention import drop, judge_anew, retry
from lambda_pipeline_tests.integration.observations import DAY, DAY_AFTER, HOUR, NEXT_HOUR, MemoryLog, publish, seen
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

FILTERS = (
    EVERYTHING,
    RawFilter(layers=("batch",)),
    RawFilter(layers=("speed",)),
    RawFilter(aqi_categories=("Good", "Unknown"), traffic_levels=(1, 3)),
    RawFilter(missing=Half.AQI),
    RawFilter(missing=Half.TRAFFIC),
    RawFilter(is_peak_hour=True),
    RawFilter(is_peak_hour=False),
)
CHOSEN = (None, ("Krukut", "GBK, Gelora"))
PAGES = ((None, 0), (7, 0), (7, 90), (500, 3))


def pages(serving: ServingLayer) -> list[pd.DataFrame]:
    return [
        serving.get_raw_data(
            DAY, DAY_AFTER, places, limit, offset, where=where, sort=sort, descending=descending
        )
        for where, places, sort, descending, (limit, offset) in product(
            FILTERS, CHOSEN, RawSort, (True, False), PAGES
        )
    ]  # fmt: skip


def counts(serving: ServingLayer) -> list[int]:
    return [
        serving.count_raw_data(DAY, DAY_AFTER, places, where=where, at_most=most)
        for where, places, most in product(FILTERS, CHOSEN, (10, 1000))
    ]


def written(serving: ServingLayer, form: Format) -> bytes:
    out = io.BytesIO()
    export(serving, What.RAW, HOUR - timedelta(days=1), HOUR + timedelta(days=40), form, out)
    return out.getvalue()


def test_reads_are_the_same(
    database: Database, log: MemoryLog, in_a_folder: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sorted in parts of the day, too."""
    monkeypatch.setattr(archived_rows, "MOST_ROWS", 10)
    log.consume()
    publish(database, HOUR, NEXT_HOUR)
    archived(in_a_folder)
    place = in_a_folder.store.place, None
    serving = ServingLayer(database.reader, place)  # type: ignore[arg-type]
    before = pages(serving), counts(serving), [written(serving, form) for form in (Format.CSV, Format.JSON)]
    assert max(map(len, before[0])) == 96
    assert drop(database, in_a_folder).dropped == ["2025-06"]
    for one, again in zip(before[0], pages(serving), strict=True):
        pd.testing.assert_frame_equal(one, again)
    assert counts(serving) == before[1]
    assert [written(serving, form) for form in (Format.CSV, Format.JSON)] == before[2]


def test_a_late_row_is_read_once_it_is_published(database: Database, log: MemoryLog, in_a_folder: Archive) -> None:
    log.consume()
    publish(database, HOUR, NEXT_HOUR)
    archived(in_a_folder)
    assert drop(database, in_a_folder).dropped == ["2025-06"]
    judge_anew(database, log)
    log.append(seen(58, "Krukut", aqi=77))
    log.store()
    retry(database, in_a_folder)
    serving = ServingLayer(database.reader, (in_a_folder.store.place, None))  # type: ignore[arg-type]
    assert len(serving.get_raw_data(DAY, DAY_AFTER)) == 96


def test_without_the_archive_it_says_so(database: Database, log: MemoryLog, in_a_folder: Archive) -> None:
    log.consume()
    publish(database, HOUR, NEXT_HOUR)
    archived(in_a_folder)
    drop(database, in_a_folder)
    serving = ServingLayer(database.reader)
    for read in (
        lambda: serving.get_raw_data(DAY, DAY_AFTER),
        lambda: serving.count_raw_data(DAY, DAY_AFTER, where=RawFilter(missing=Half.AQI)),
        lambda: written(serving, Format.CSV),
    ):
        with pytest.raises(ArchiveNeededError, match="2025-07-01 07:00 WIB are in the archive alone"):
            read()
    assert len(serving.get_raw_data(DAY, DAY_AFTER, where=RawFilter(layers=("speed",)))) == 0
