"""`lambda-pipeline` as a user starts it: a process of its own, in an empty folder, with no settings but those named."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lambda_pipeline.settings import Settings

REPOSITORY = Path(__file__).parents[2]
SETTINGS = tuple(str(field.alias) for field in Settings.model_fields.values())


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that the user sees."""
        return self.out + self.err


def run_python(folder: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> Result:
    """Run Python in a folder, with the machine's environment but none of its settings of ours."""
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    wide = {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**kept, **wide, **(settings or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def run(folder: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> Result:
    """Run a command of ours."""
    return run_python(folder, "-m", "lambda_pipeline", *arguments, settings=settings)
