"""Fixtures of the tests of the command line."""

from lambda_pipeline_tests.cli.in_process import call, logging_as_before

__all__ = ["call", "logging_as_before"]
