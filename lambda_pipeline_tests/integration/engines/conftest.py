"""Every engine over the archive, one after the other."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from lambda_pipeline.batch.engines.engine import ArchiveEngine
from lambda_pipeline_tests.integration.engines.engines import ENGINES


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Iterator[ArchiveEngine]:
    with closing(ENGINES[request.param]()) as made:
        yield made
