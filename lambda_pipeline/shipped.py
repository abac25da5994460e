"""Where the files that are not Python lie: beside the package in a checkout, inside it once installed."""

from functools import lru_cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@lru_cache(maxsize=256)
def shipped_path(*parts: str) -> Path:
    """Path of a shipped file or folder, e.g. `shipped_path("sql", "speed", "insert_realtime.sql")`.

    Raises FileNotFoundError where the installation is incomplete.
    """
    for root in (_PACKAGE, _PACKAGE.parent):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise FileNotFoundError(f"{'/'.join(parts)} is missing from the installation of lambda-pipeline; reinstall it.")
