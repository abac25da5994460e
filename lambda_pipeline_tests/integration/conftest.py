"""Fixtures of the tests that run speed daemons."""

from collections.abc import Iterator

import pytest

from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.integration.speed_daemons import Feed
from lambda_pipeline_tests.servers import Database


@pytest.fixture
def feed(database: Database, kafka: KafkaConnection, topic_name: str) -> Iterator[Feed]:
    """A topic of two partitions, and a consumer group for it."""
    made = Feed(database, kafka, topic_name)
    yield made
    made.close()
