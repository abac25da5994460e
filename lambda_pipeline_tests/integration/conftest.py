"""Fixtures of the tests that run speed daemons, upgrade the first system's databases, run Dagster or commands."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.cli.in_process import call, logging_as_before
from lambda_pipeline_tests.integration.dagster_runs import dagster_template, produce, topic
from lambda_pipeline_tests.integration.import_files import HEADER
from lambda_pipeline_tests.integration.object_store import s3, where
from lambda_pipeline_tests.integration.old_databases import old_database
from lambda_pipeline_tests.integration.speed_daemons import Feed
from lambda_pipeline_tests.integration.streams import Stream
from lambda_pipeline_tests.servers import Database

__all__ = ["call", "dagster_template", "feed", "logging_as_before", "old", "produce", "s3", "topic", "where"]
_numbers = itertools.count(1)


@pytest.fixture
def old(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A database with nothing in it yet, to be filled as the first system would."""
    yield from old_database(postgres, f"old_{next(_numbers)}")


@pytest.fixture
def feed(database: Database, kafka: KafkaConnection, topic_name: str) -> Iterator[Feed]:
    """A topic of two partitions, and a consumer group for it."""
    made = Feed(database, kafka, topic_name)
    yield made
    made.close()


@pytest.fixture
def stream(database: Database, kafka: KafkaConnection, topic_name: str) -> Iterator[Stream]:
    """A topic of two partitions, and the database beside it."""
    made = Stream(database, kafka, topic_name)
    yield made
    made.close()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a CSV file of these lines; gives its path."""

    def write_file(*lines: str, header: str = HEADER, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return path

    return write_file
