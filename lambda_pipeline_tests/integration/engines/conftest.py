"""Every engine over the archive, one after the other."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from lambda_pipeline.batch.engines.engine import ArchiveEngine
from lambda_pipeline_tests.integration.engines.engines import ENGINES
from lambda_pipeline_tests.java import find_java


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Iterator[ArchiveEngine]:
    """For all tests of a module: Spark takes seconds to start, and there is one of it in a process."""
    if request.param == "spark" and find_java() is None:
        pytest.skip("Spark needs Java 17 or newer in JAVA_HOME or PATH; `make java` says how to get it")
    with closing(ENGINES[request.param]()) as made:
        yield made
