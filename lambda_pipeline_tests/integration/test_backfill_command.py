"""`lambda-pipeline backfill` as its user sees it: what it would do, what it did, and what its checks warn of."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from lambda_pipeline.stream.topic import Topic
from lambda_pipeline_tests.cli.in_process import Call
from lambda_pipeline_tests.integration.dagster_runs import PLACES, Produce
from lambda_pipeline_tests.integration.serving.data import message
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

START = datetime(2025, 3, 2, 17, tzinfo=UTC)  # midnight in Jakarta
Backfill = Callable[..., tuple[Sequence[str], str]]
DAYS = ("--from", "2025-03-03", "--to", "2025-03-05")


@pytest.fixture
def backfill(call: Call, topic: Topic) -> Backfill:
    """The command over two days on the test's own servers; what it said, its columns apart by one space."""
    servers = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC", "LAMBDA_DAGSTER_DATABASE_URL")
    settings = {name: os.environ[name] for name in servers}

    def run(*options: str, **others: str) -> tuple[Sequence[str], str]:
        result = call("backfill", *DAYS, *options, **(settings | others))
        assert result.code == 0, result.text
        first, *lines = [" ".join(line.split()) for line in result.out.splitlines()]
        assert first.startswith("2 days from 2025-03-03 up to before 2025-03-05, ")
        return lines, result.err

    return run


def test_a_dry_run_is_about_the_assets_that_are_asked_for_and_changes_nothing(
    database: Database, produce: Produce, backfill: Backfill
) -> None:
    produce([message(PLACES[0], START + timedelta(hours=hour), aqi=1) for hour in range(3)])
    day_tables = [
        f"{name} would be computed for 2 days" for name in ("daily_aggregations", "peak_hours_analysis", "peak_hours")
    ]
    assert backfill("--dry-run")[0] == [
        "raw_data would read 3 new records, of whichever days",
        "hourly_aggregations would publish 0 hours of 0 stored raw rows, and those that new records lie in;",
        "the speed layer holds something of 0 hours",
        *day_tables,
    ]
    assert database.scalar("select count(*) from raw_data") == 0
    backfill("--asset", "raw_data")
    assert backfill("--dry-run", "--asset", "peak_hours", "--asset", "hourly_aggregations")[0] == [
        "hourly_aggregations would publish 3 hours of 3 stored raw rows;",
        "the speed layer holds something of 0 hours",
        day_tables[2],
    ]
    nowhere = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    assert backfill("--dry-run", "--asset", "daily_aggregations", **nowhere)[0] == day_tables[:1]
    assert database.scalar("select count(*) from published_hours") == 0


def test_the_summary_says_what_each_asset_did_and_what_the_checks_warn_of(
    database: Database, produce: Produce, backfill: Backfill
) -> None:
    produce([*(message(PLACES[0], START + timedelta(hours=hour), aqi=1) for hour in (0, 1, 25)), b"{"])
    lines, warnings = backfill()
    assert lines == [
        "raw_data 2 partitions 3 rows 3 new, of 4 new records, 1 dead letter",
        "hourly_aggregations 2 partitions 3 rows 3 hours published, of 3 raw rows, 0 left the speed layer",
        "daily_aggregations 2 partitions 2 rows 2 written",
        "peak_hours_analysis 2 partitions 3 rows 3 written",
        "peak_hours 2 partitions 2 rows 2 written",
    ]
    assert "hourly_aggregations: completeness: 0.6% of 480 expected observations. Least: Cinere 0 %." in warnings
    assert "hourly_aggregations: gaps: 45 hours without any observation" in warnings
    produce([message(PLACES[0], START + timedelta(minutes=6), aqi=5)])
    assert backfill("--asset", "raw_data", "--asset", "hourly_aggregations", "--asset", "peak_hours_analysis")[0] == [
        "raw_data 2 partitions 4 rows 1 new, of 1 new record",
        "hourly_aggregations 2 partitions 3 rows 1 hour published (1 of them again), of 2 raw rows, "
        "0 left the speed layer",
        "peak_hours_analysis 2 partitions 3 rows 1 written",
    ]
