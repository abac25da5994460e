"""Tests of lambda_pipeline.ingestion."""
