"""A real Spark cluster on loopback: a master and two workers, each a process, out of the package pyspark."""

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyspark

from lambda_pipeline.local import processes
from lambda_pipeline.local.home import free_port
from lambda_pipeline_tests.processes import wait_for

EXECUTOR_MB = 512
_SPARK = Path(pyspark.__file__).parent


@dataclass(frozen=True)
class Cluster:
    """`page` is where the master says in JSON what it knows."""

    url: str
    page: str
    master: processes.Child
    workers: tuple[processes.Child, ...]

    def living_workers(self) -> int:
        """How many the master knows; 0 while it does not answer."""
        with suppress(OSError), urllib.request.urlopen(self.page, timeout=5) as answer:  # noqa: S310 - ours
            return sum(one["state"] == "ALIVE" for one in json.load(answer)["workers"])
        return 0


@contextmanager
def running_cluster(folder: Path, workers: int = 2, memory_mb: int = EXECUTOR_MB) -> Iterator[Cluster]:
    """A cluster of workers with a processor each, and nothing of it afterwards. Main thread only."""
    port, page = free_port(), free_port()
    environment = os.environ | {
        "SPARK_HOME": str(_SPARK), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "192m",
        "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_DIRS": str(folder / "local"),
    }  # fmt: skip
    url = f"spark://127.0.0.1:{port}"
    started: list[processes.Child] = []

    def start(name: str, kind: str, *arguments: str) -> processes.Child:
        command = [str(_SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", "--host", "127.0.0.1"]
        child = processes.spawn(name, [*command, *arguments], folder / f"{name}.log", environment, cwd=folder)
        started.append(child)
        return child

    try:
        master = start("master", "master.Master", "--port", str(port), "--webui-port", str(page))
        cluster = Cluster(url, f"http://127.0.0.1:{page}/json/", master, tuple(
            start(
                f"worker-{number}", "worker.Worker", "--port", str(free_port()), "--webui-port", str(free_port()),
                "--cores", "1", "--memory", f"{memory_mb}m", "--work-dir", str(folder / f"work-{number}"), url,
            )
            for number in range(workers)
        ))  # fmt: skip
        wait_for(lambda: cluster.living_workers() == workers, "the workers are with their master", 60.0)
        yield cluster
    finally:
        for child in reversed(started):
            processes.kill(child)
