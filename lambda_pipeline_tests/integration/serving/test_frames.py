"""The frames of every read have the documented columns and dtypes, whatever they hold."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.serving import frames
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline_tests.integration.serving import data
from lambda_pipeline_tests.integration.serving.data import Log, message
from lambda_pipeline_tests.integration.serving.ways import (
    READS,
    SOME_ROWS,
    START,
    ZONE,
    batch_only,
    speed_only,
    ways,
)
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


def test_every_read_of_the_layer_is_in_this_table() -> None:
    methods = {name for name, _ in inspect.getmembers(ServingLayer, inspect.isfunction) if name.startswith("get_")}
    assert methods == set(READS)


def test_frames_of_an_unused_database_have_the_documented_columns_and_dtypes(serving: ServingLayer) -> None:
    with serving.snapshot() as view:
        for name, (columns, read) in READS.items():
            found = read(view)
            assert list(found.columns) == list(columns)
            assert data.dtypes(found) == dict(columns)
            assert len(found) == SOME_ROWS.get(name, 0)


def test_heatmap_without_any_location_has_the_documented_columns_and_dtypes(database: Database) -> None:
    database.claim(City("Nowhere", ZONE))
    found = ServingLayer(database.reader).get_combined_heatmap_data()
    assert found.empty
    assert data.dtypes(found) == dict(frames.HEATMAP)


@ways
def test_full_frames_have_the_documented_columns_and_dtypes(
    serving: ServingLayer, log: Log, two_days: list[ObservationMessage], feed: Callable[..., None]
) -> None:
    feed(log, two_days)
    log.reject(b"nonsense")
    with serving.snapshot() as view:
        for columns, read in READS.values():
            found = read(view)
            assert not found.empty
            assert list(found.columns) == list(columns)
            assert data.dtypes(found) == dict(columns)


@pytest.mark.parametrize("feed", [speed_only, batch_only])
@pytest.mark.parametrize("measures", [{}, {"aqi": 50}, {"level": 3}, {"speeds": (20.0, 0.0)}], ids=str)
def test_columns_that_are_all_missing_keep_their_dtypes(
    serving: ServingLayer, log: Log, feed: Callable[..., None], measures: dict[str, Any]
) -> None:
    feed(log, [message("Cinere", START, **measures)])
    with serving.snapshot() as view:
        for columns, read in READS.values():
            assert data.dtypes(read(view)) == dict(columns)
