"""The jobs over the batch layer's assets and its archive, and the resources that they ask for."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from lambda_pipeline.automation.workers import signing_executor
from lambda_pipeline.batch.archive import RAW_ARCHIVE, ArchiveConfig
from lambda_pipeline.batch.assets import ASSET_NAMES, PublishConfig
from lambda_pipeline.batch.progress import LoggedProgress, Progress
from lambda_pipeline.resources import (
    ArchiveResource,
    BatchEngineResource,
    DatabaseResource,
    LogResource,
    ServingResource,
)

JOB_NAME = "batch_layer"
ARCHIVE_JOB_NAME = "archive"


def resources(*, accept_loss: bool = False, progress: Progress | None = None) -> dict[str, object]:
    """The resources that the assets ask for, by name."""
    return {
        "database": DatabaseResource(),
        "log": LogResource(accept_loss=accept_loss),
        "archive": ArchiveResource(),
        "batch_engine": BatchEngineResource(),
        "serving": ServingResource(),
        "progress": progress or LoggedProgress(dg.get_dagster_logger("batch")),
    }


def build_job(
    assets: tuple[str, ...] = ASSET_NAMES, hooks: frozenset[dg.HookDefinition] = frozenset()
) -> UnresolvedAssetJobDefinition:
    """One job over the assets and their checks. Small hourly runs: in one process, which is twice as quick to start."""
    return dg.define_asset_job(
        JOB_NAME,
        selection=dg.AssetSelection.assets(*assets),
        executor_def=signing_executor,
        hooks=hooks,
        description="Store what is new, publish the hours that it touches, compute their days.",
    )


def build_archive_job(hooks: frozenset[dg.HookDefinition] = frozenset()) -> UnresolvedAssetJobDefinition:
    """The archive and its check. Apart from the other job, which nothing of it may slow down."""
    return dg.define_asset_job(
        ARCHIVE_JOB_NAME,
        selection=dg.AssetSelection.assets(RAW_ARCHIVE),
        executor_def=signing_executor,
        hooks=hooks,
        description="Write the days anew whose archive is not what raw_data holds.",
    )


def archive_config(*, everything: bool) -> dict[str, dict[str, object]]:
    """The archive's job's run configuration."""
    return {"ops": {RAW_ARCHIVE: {"config": ArchiveConfig(everything=everything).model_dump()}}}


def publish_config(*, everything: bool, closed_only: bool) -> dict[str, dict[str, object]]:
    """The job's run configuration."""
    config = PublishConfig(everything=everything, closed_only=closed_only)
    return {"ops": {"hourly_aggregations": {"config": config.model_dump()}}}
