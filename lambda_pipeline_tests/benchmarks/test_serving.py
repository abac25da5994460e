"""The serving benchmark: what it fills is a state that the layers could have left, and what it says of its figures."""

from datetime import UTC, date, datetime

import pytest
import sqlalchemy as sa

from benchmarks.report import summary_table
from benchmarks.servers import Database as Filling
from benchmarks.serving.fill import fill
from benchmarks.serving.page import page_rows
from benchmarks.serving.reads import Range, Read, reads_of, time_read
from benchmarks.serving.tables import goal_rows, notes
from lambda_pipeline.batch.publish import hours_to_publish
from lambda_pipeline.domain.catalogue import City
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.sql import sql
from lambda_pipeline_tests.servers import Database

NOW = datetime(2026, 3, 12, 7, 42, tzinfo=UTC)  # 14:42 in Jakarta
DAYS = date(2026, 3, 10), date(2026, 3, 13)


@pytest.mark.integration
def test_what_is_filled_keeps_the_unions_promise_and_every_read_of_it_works(database: Database, jakarta: City) -> None:
    filled = fill(Filling(database.postgres, database.name), 2, NOW)
    assert (filled.first, filled.until) == DAYS
    assert filled.rows["batch_aggregations"] == (2 * 24 + 14) * len(jakarta.locations)
    with transaction(database.reader, read_only=True) as connection:
        union = connection.execute(sql("checks/union")).one()
    assert (union.covered, union.in_both, union.drifted) == (0, 0, 0)
    assert union.rows == filled.rows["realtime_data"] > 0
    assert hours_to_publish(database.reader, *DAYS) == []

    layer = ServingLayer(database.reader)
    names = sorted(place.name for place in jakarta.locations)
    days = Range(*DAYS)
    with layer.snapshot() as view:
        served = view.get_hourly(*DAYS)["data_points_count"].sum()
        assert view.get_statistics(*DAYS).iloc[0]["data_points_count"] == served
        assert view.get_freshness()["observations"].sum() == served
    with Filling(database.postgres, database.name).connect("lambda_reader") as bare:
        for name, read in reads_of(filled, names, days).items():
            found = time_read(layer, bare, read, days.values(jakarta.clock()), 1)
            assert found.keys() == {"p50", "p95", "alone.p50", "alone.p95"}, name


def test_the_table_has_the_95th_percentile_against_its_goal_and_the_naive_way_below() -> None:
    nothing = sa.text("select 1")
    reads = {
        "one": Read("one", lambda view: view, nothing, 50, "select 2"),
        "two": Read("two", lambda view: view, nothing, 50),
        "three": Read("three", lambda view: view, nothing),
        "four": Read("four", lambda view: view, nothing),
    }
    figures = {f"{name}.{figure}": [4.0, 6.0] for name in ("one", "two", "three") for figure in ("p50", "alone.p50")}
    figures |= {"one.p95": [49.0], "two.p95": [51.0], "three.p95": [1000.0], "one.naive": [8_000.0]}
    rows = goal_rows(figures, reads)
    assert [row.what for row in rows] == ["one", "two", "three"]
    assert [row.met for row in rows] == [True, False, None]
    assert rows[0].measured == "p50 5.0 ms, p95 49.0 ms"
    assert summary_table(rows).rows[1][-1] == "**no**"
    assert notes(figures, reads) == ["The naive way beside: one by 8.0 s from the hourly rows, 2,000 times as long."]


def test_the_pages_table_has_its_median_beside_a_blank_page_of_the_same_round() -> None:
    figures = {"blank": [0.5, 1.0, 0.6], "first": [1.0, 2.5, 1.2], "maps.one": [1.5, 1.1, 0.9]}
    first, one = page_rows(figures)
    assert (first.measured, first.beside) == ("1.20 s (1.00 to 2.50)", "a blank Streamlit app: 0.60 s")
    assert (first.ratio, first.met) == ("2.00", True)
    assert (one.measured, one.ratio, one.met) == ("1.10 s (0.90 to 1.50)", "", False)
