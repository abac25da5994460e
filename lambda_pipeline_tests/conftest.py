"""What all tests share: real servers on demand, and the same examples of hypothesis in every run."""

import pytest
from hypothesis import settings

pytest_plugins = ["lambda_pipeline_tests.servers"]

settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")


@pytest.hookimpl(trylast=True)  # after the order was shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For two workers (`make test`): a module stays together, and so do the faults, which begin since they take long.

    Two modules of faults at once would take each other's processor, and what they measure with it.
    """
    for item in items:
        group = "faults" if item.get_closest_marker("faults") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("faults") is None)
