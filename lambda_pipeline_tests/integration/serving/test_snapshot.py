"""A snapshot sees one instant, and nobody writes through it."""

from datetime import timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline_tests.integration.serving.data import Log, message
from lambda_pipeline_tests.integration.serving.ways import AGES, READS, START
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("change", ["consume", "publish"])
def test_a_snapshot_sees_one_instant_whatever_others_commit_meanwhile(
    serving: ServingLayer, log: Log, change: str
) -> None:
    log.append(*(message("Cinere", START + timedelta(minutes=n), aqi=10 * n) for n in range(6)))
    log.consume(3)
    log.store(2)
    with serving.snapshot() as view:
        before = [read(view).drop(columns=AGES, errors="ignore") for _, read in READS.values()]
        if change == "consume":
            assert log.consume() == 3
        else:
            assert log.publish() == 1
        during = [read(view).drop(columns=AGES, errors="ignore") for _, read in READS.values()]
    for one, other in zip(before, during, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert not serving.get_freshness()["observations"].equals(before[-1]["observations"])


def test_a_snapshot_cannot_write_even_as_the_owner(database: Database) -> None:
    with (
        pytest.raises(sa.exc.DBAPIError, match="read-only transaction"),
        ServingLayer(database.owner).snapshot() as view,
    ):
        view.scalar(sa.text("delete from realtime_data returning 1"))


def test_the_reader_may_not_write(database: Database) -> None:
    with (
        pytest.raises(sa.exc.DBAPIError, match="permission denied"),
        database.reader.begin() as connection,
    ):
        connection.execute(sa.text("delete from realtime_data"))
