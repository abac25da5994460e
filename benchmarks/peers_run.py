"""Runs the programs that stand beside ours: quixstreams' PostgreSQL sink, and the two Kafka clients alone."""

import json
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.daemons import spawn_python
from benchmarks.load import PARTITIONS, LoadedTopic
from benchmarks.servers import Servers
from lambda_pipeline.local import processes

_PATIENCE_SECONDS = 600.0
# The fields of a message as columns, with the key of realtime_data and no other index.
_TABLE = """
create table observations (
    schema_version integer, timestamp timestamptz, location text, latitude double precision,
    longitude double precision, aqi_value integer, aqi_measured_at timestamptz, dominant_pollutant text,
    pollutants jsonb, traffic_level smallint, current_speed double precision, free_flow_speed double precision,
    road_closure boolean, attributions jsonb, primary key (location, timestamp))
"""
# Its own defaults (a checkpoint every five seconds), and one by number, which bounds memory and delay like ours.
QUIX_SETTINGS: dict[str, dict[str, Any]] = {"default": {}, "tuned": {"commit_every": 10_000}}


@dataclass(frozen=True)
class QuixRun:
    """Records a second into the table, rows there, and the share of its rows without an AQI (5 % were sent so)."""

    rate: float
    rows: int
    without_aqi: float


def bench_python() -> Path | None:
    """The interpreter of .venv-bench, which `make bench-speed` makes; None where it is not there."""
    python = Path(__file__).resolve().parents[1] / ".venv-bench" / "bin" / "python"
    return python if python.exists() else None


def run_quix(servers: Servers, loaded: LoadedTopic, records: int, settings: str, python: Path) -> QuixRun:
    """quixstreams' sink over so many records of the topic, into a database of its own."""
    with servers.database("template0") as database:
        with closing(database.connect()) as connection:
            connection.execute(_TABLE)
        wanted = {
            "brokers": servers.broker.bootstrap_servers,
            "topic": loaded.topic.name,
            "group": servers.name("quix"),
            "records": min(records, loaded.records),
            "application": QUIX_SETTINGS[settings],
            "database": {
                "host": str(servers.postgres.socket_folder),
                "port": 5432,
                "dbname": database.name,
                "user": "postgres",
            },
        }
        rate = _rate(servers, [str(python), "-m", "benchmarks.peers.quix_sink"], wanted)
        with closing(database.connect()) as connection:
            counted = connection.execute("select count(*), count(aqi_value) from observations").fetchone()
    assert counted is not None
    if counted[0] != wanted["records"]:
        raise RuntimeError(f"quixstreams was given {wanted['records']} records, and its table holds {counted[0]}.")
    return QuixRun(rate, counted[0], 1 - counted[1] / counted[0])


def run_consumption(servers: Servers, loaded: LoadedTopic, python: Path | None, *, decode: bool) -> float:
    """Records a second that a Kafka client alone hands over: the C one with its interpreter, else kafka-python."""
    wanted = {
        "brokers": servers.broker.bootstrap_servers,
        "topic": loaded.topic.name,
        "group": servers.name("consume"),
        "records": loaded.records,
        "partitions": PARTITIONS,
        "decode": decode,
    }
    if python is None:
        return _rate(servers, [sys.executable, "-m", "benchmarks.consume"], wanted)
    return _rate(servers, [str(python), "-m", "benchmarks.peers.c_client"], wanted)


def _rate(servers: Servers, command: list[str], wanted: dict[str, Any]) -> float:
    """Run a program to its end and take the rate out of the last line of its output."""
    log_file = servers.home.logs / f"{wanted['group']}.log"
    child = spawn_python([*command, json.dumps(wanted)], log_file, servers, {})
    try:
        if not processes.wait_until(lambda: not child.alive, _PATIENCE_SECONDS):
            raise RuntimeError(f"{command[-1]} did not end:\n{processes.log_tail(log_file)}")
    finally:
        processes.stop(child)
    lines = log_file.read_text(encoding="utf-8").splitlines()
    try:
        result = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise RuntimeError(f"{command[-1]} failed:\n{processes.log_tail(log_file)}") from None
    return float(result["records"] / result["seconds"])
