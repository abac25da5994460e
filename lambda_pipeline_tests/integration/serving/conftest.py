"""The serving layer over a log in memory, and two days to put into it."""

import pandas as pd
import pytest

from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline_tests.integration.serving import data
from lambda_pipeline_tests.integration.serving.data import Log
from lambda_pipeline_tests.integration.serving.ways import DAYS, PLACES, START, WINDOWS, ZONE
from lambda_pipeline_tests.servers import Database


@pytest.fixture
def serving(database: Database) -> ServingLayer:
    """As the role that may only read."""
    return ServingLayer(database.reader)


@pytest.fixture
def log(database: Database) -> Log:
    return Log(database)


@pytest.fixture(scope="module")
def two_days() -> list[ObservationMessage]:
    return data.some_days(START, DAYS, PLACES)


@pytest.fixture(scope="module")
def observed(two_days: list[ObservationMessage]) -> pd.DataFrame:
    return data.as_frame(two_days, ZONE, WINDOWS)
