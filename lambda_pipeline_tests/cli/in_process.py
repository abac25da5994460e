"""Commands in this process, which is quicker than a process of their own."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from lambda_pipeline.cli import main
from lambda_pipeline_tests.cli.commands import SETTINGS, Result

Call = Callable[..., Result]


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Commands set up logging for a process of their own."""
    root, ours = logging.getLogger(), logging.getLogger("lambda_pipeline")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    logging_as_before: None,
) -> Call:
    """A command in an empty folder, with no other settings than those given, and what it sets undone."""

    def run_here(*arguments: str, **settings: str) -> Result:
        with mock.patch.dict(os.environ), monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name in SETTINGS:
                patch.delenv(name, raising=False)
            patch.setenv("COLUMNS", "300")
            patch.setenv("NO_COLOR", "1")
            for name, value in settings.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["lambda-pipeline", *arguments])
            capsys.readouterr()
            try:
                main()
            except SystemExit as end:
                code = end.code
            else:
                code = 0
        printed = capsys.readouterr()
        return Result(code if isinstance(code, int) else 1, printed.out, printed.err)

    return run_here
