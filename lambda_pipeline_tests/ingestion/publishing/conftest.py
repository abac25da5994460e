"""A publisher on a disk of its own, over a broker that fails when told to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_pipeline.ingestion.publisher import Publisher
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline_tests.ingestion.fake_kafka import FakeBroker
from lambda_pipeline_tests.ingestion.publishing.spools import MIB, Make


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ingest" / "spool.db"


@pytest.fixture
def make(broker: FakeBroker, path: Path) -> Iterator[Make]:
    made: list[Publisher] = []

    def publisher(spool: Spool | None = None, **options: Any) -> Publisher:
        options = {"retry_after": 0.01, "producer": broker, **options}
        made.append(Publisher({"bootstrap_servers": "127.0.0.1:9"}, "t", spool or Spool(path, MIB), **options))
        return made[-1]

    yield publisher
    for one in made:
        one.close(timeout=0)
