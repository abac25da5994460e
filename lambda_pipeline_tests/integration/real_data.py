"""Where the recorded real data lies that tests read. It is not part of the repository."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def real_data_folder() -> Path:
    """LAMBDA_REAL_DATA, or ../shared/real beside the repository. The test is skipped where there is none."""
    folder = Path(os.environ.get("LAMBDA_REAL_DATA") or REPOSITORY.parent / "shared" / "real")
    if not folder.is_dir():
        pytest.skip(f"there is no recorded data at {folder}; set LAMBDA_REAL_DATA")
    return folder
