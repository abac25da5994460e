"""What all tests share: real servers on demand, and the same examples of hypothesis in every run."""

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["lambda_pipeline_tests.servers"]

_FAULTS = "lambda_pipeline_tests/faults/"

settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")


class Scopes(LoadScopeScheduling):
    """For `make test`'s two workers: a module stays together on one of them, and so do all faults.

    Two modules of faults at once would take each other's processor, and with it what they wait for.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return _FAULTS if module.startswith(_FAULTS) else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scopes:
    """Who runs what, whichever --dist says."""
    return Scopes(config, log)


@pytest.hookimpl(trylast=True)  # after the order was shuffled
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The faults first: they take longest, so that no worker is left with them at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(_FAULTS))
