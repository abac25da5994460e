"""The project's promise, attacked: random histories on a real PostgreSQL with the real code.

Whatever is late, repeated, poisonous, crashed, re-run, imported, expired, recreated, archived or dropped, and whoever
comes between: after every step each hour serves exactly the distinct observations that a layer has taken in, each once,
with the values stored first.
"""

import os
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from lambda_pipeline.archive.place import Place
from lambda_pipeline.batch import publish
from lambda_pipeline_tests.integration.observations import LAYER_TABLES
from lambda_pipeline_tests.integration.union.interrupting import Union
from lambda_pipeline_tests.integration.union.moments import Moments, prepare_deaths
from lambda_pipeline_tests.servers import Database

EXAMPLES = int(os.environ.get("LAMBDA_UNION_EXAMPLES", "0"))  # random histories; 0 for a few that are always the same


@pytest.mark.integration
@pytest.mark.timeout(600 + 5 * EXAMPLES)  # a failure is looked for in its shortest form for up to five minutes
def test_every_observation_is_served_exactly_once_whatever_happens(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # what comes between two statements of a swap may take a busy machine longer than a frozen process may stay
    patient = partial(publish.bound_transaction, seconds=600, idle_seconds=600)
    monkeypatch.setattr(publish, "bound_transaction", patient)
    prepare_deaths(database.owner, (*LAYER_TABLES, "raw_archives"))
    here = {"database": database, "moments": Moments(database.writer), "place": Place("folder", str(tmp_path))}
    machine = type("UnionOnThisDatabase", (Union,), here)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES or 30,
            derandomize=not EXAMPLES,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )
