"""What the tests of the page share."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def main_module() -> Iterator[None]:
    """Streamlit leaves a page behind as the module `__main__`, which every spawned process would start anew."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main
