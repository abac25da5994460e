"""`python -m lambda_pipeline` is `lambda-pipeline`."""

from lambda_pipeline.cli import main

main()
