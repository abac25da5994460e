"""Fixtures of the ingestion tests: the recorded answers, and a server that answers what a test wants."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_pipeline.ingestion.http import HttpPolicy, HttpSession, create_session
from lambda_pipeline_tests.ingestion.servers import ScriptedServer

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of recorded answers: LAMBDA_REAL_DATA, or ../shared/real beside the repository."""
    folder = Path(os.environ.get("LAMBDA_REAL_DATA") or REPOSITORY.parent / "shared" / "real")
    if not folder.is_dir():
        pytest.skip(f"there are no recorded answers at {folder}; set LAMBDA_REAL_DATA")
    return folder


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


class Waits:
    """Stands in for waiting: remembers the seconds and returns at once."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.stopped = False

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return self.stopped


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def session(waits: Waits) -> Iterator[HttpSession]:
    """A session that waits for nothing between its attempts and not long for an answer."""
    made = create_session(HttpPolicy(read_timeout=5.0), wait=waits, clock=lambda: 0.0, jitter=lambda: 1.0)
    yield made
    made.close()
