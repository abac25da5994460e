"""What all tests share: real servers on demand, and the same examples of hypothesis in every run."""

from hypothesis import settings

pytest_plugins = ["lambda_pipeline_tests.servers"]

settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")
