"""A queued run of the job for one day, as a schedule asks for it: `-m benchmarks.batch.launch [DAY]`.

Prints its id, and what a run launcher hands to the process that executes it. Without a day it only makes Dagster's
tables.
"""

import sys

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value

from lambda_pipeline.automation.jobs import JOB_NAME, publish_config
from lambda_pipeline.batch.checks import CHANGED_ONLY
from lambda_pipeline.definitions import defs


def main(day: str | None = None) -> None:
    """Make the run and say how to execute it."""
    with dg.DagsterInstance.get() as instance:
        instance.get_run_records(limit=1)
        if day is None:
            return
        pointer = ModuleCodePointer("lambda_pipeline.definitions", "defs")
        origin = JobPythonOrigin(JOB_NAME, RepositoryPythonOrigin(sys.executable, pointer))
        run = instance.create_run_for_job(
            defs.resolve_job_def(JOB_NAME),
            run_config=publish_config(everything=False, closed_only=True),
            tags={"dagster/partition": day, **CHANGED_ONLY},
            job_code_origin=origin,
        )
        print(run.run_id)
        print(serialize_value(ExecuteRunArgs(origin, run.run_id, instance.get_ref(), set_exit_code_on_failure=True)))


if __name__ == "__main__":
    main(*sys.argv[1:])
