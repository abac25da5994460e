"""The fixtures are in lambda_pipeline_tests/servers.py; the type of one of them by its old address."""

from lambda_pipeline_tests.servers import Database as Database
