"""The speed daemon in a flood: alone, beside a publish, and beside a bare aggregation that takes no lock.

The third says what more processes on the same cores take by themselves; what is lost beyond it is the publish's doing.
"""

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from benchmarks.batch.history import unpublish
from benchmarks.flood import Flood, flood_database
from benchmarks.load import LoadedTopic
from benchmarks.observations import TIMEZONE
from benchmarks.servers import Database, Servers

_SPEED_TABLES = "realtime_data, realtime_hourly, latest_observations, stream_offsets, dead_letters"


def bench_beside(
    servers: Servers, loaded: LoadedTopic, database: Database, start: datetime, hours: int
) -> dict[str, float]:
    """Observations a second, consumed to committed. Nothing of the published hours is in the flood."""
    url = database.url()
    commands = {
        "beside.alone": [],
        "beside.publish": ["benchmarks.batch.publisher", url, str(hours), TIMEZONE],
        "beside.bare": ["benchmarks.batch.bare", url, start.isoformat(), str(hours)],
    }
    return {name: _flood(servers, loaded, database, command).rate for name, command in commands.items()}


def _flood(servers: Servers, loaded: LoadedTopic, database: Database, command: list[str]) -> Flood:
    with database.connect() as connection:
        connection.execute(f"truncate {_SPEED_TABLES}".encode())
        unpublish(connection)
    path = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")]))
    running: list[subprocess.Popen[bytes]] = []

    def start(_: object) -> None:
        if command:
            environment = {**os.environ, "PYTHONPATH": path}
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command], env=environment, cwd=servers.home.path, stdout=subprocess.DEVNULL
                )
            )

    try:
        found = flood_database(servers, loaded, database, on_start=start)
        if running and running[0].poll() not in (None, 0):
            raise RuntimeError(f"{command[0]} failed beside the flood.")
        if running and running[0].poll() == 0:
            print(f"note: {command[0]} was done before the flood", file=sys.stderr)
        return found
    finally:
        for process in running:
            process.kill()
            process.wait()
        with database.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like '%benchmark'"
            )
            connection.execute(f"truncate {_SPEED_TABLES}".encode())
