"""What a page says of a run: when, on what machine, with which versions and settings."""

import os
import platform
from datetime import UTC, datetime

import psutil

from benchmarks.servers import Database

_SETTINGS = ("fsync", "synchronous_commit", "shared_buffers", "work_mem", "max_wal_size", "wal_compression")


def machine(runs: int) -> str:
    """The day, the machine and how busy it was, and of how many rounds the medians are; without a full stop."""
    total = psutil.virtual_memory().total / 1024**3
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {psutil.cpu_count()} cores, {total:.0f} GiB, "
        f"load average {os.getloadavg()[2]:.1f} over the last quarter of an hour; medians of {runs} rounds"
    )


def server(database: Database) -> str:
    """Python, PostgreSQL and its settings."""
    with database.connect() as connection:
        row = connection.execute("select " + ", ".join(f"current_setting('{name}')" for name in _SETTINGS)).fetchone()
        version = connection.info.server_version
    settings = ", ".join(f"{name} {value}" for name, value in zip(_SETTINGS, row or (), strict=True))
    return f"Python {platform.python_version()}, PostgreSQL {version // 10000}.{version % 10000} ({settings})."
