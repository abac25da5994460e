"""DAGSTER_HOME: where Dagster's processes find their instance, made without importing Dagster."""

import shutil
from pathlib import Path

from lambda_pipeline.shipped import shipped_path


def prepare_dagster_home(folder: Path, storage_url: str) -> dict[str, str]:
    """Make a DAGSTER_HOME with our dagster.yaml; returns the environment that Dagster's processes need."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shipped_path("dagster.yaml"), folder / "dagster.yaml")
    return {
        "DAGSTER_HOME": str(folder.resolve()),
        "LAMBDA_DAGSTER_DATABASE_URL": storage_url,
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "DAGSTER_EVENT_BATCH_SIZE": "1000",  # a third of the time for a range's events, whose batches bound memory
    }
