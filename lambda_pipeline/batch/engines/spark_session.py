"""A Spark session of one run: its Java process is started for it, says little, and ends with it."""

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lambda_pipeline.errors import EngineError, SettingsError

_CONNECT_SECONDS = 5.0
_STOP_SECONDS = 20.0
_MASTER = re.compile(r"local(\[[\d*, ]+\])?|spark://\S+")
_QUIET = """\
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex
"""


class SparkRun:
    """A running session. There is one in a process at a time."""

    def __init__(self, master: str, driver_host: str, memory_mb: int) -> None:
        """Start it. Raises SettingsError for what is missing here, EngineError where the master cannot be reached.

        `memory_mb` (MiB) is each executor's; the driver's too, which is the only executor where `master` is local.
        """
        check_needs(master)
        self._folder = Path(tempfile.mkdtemp(prefix="lambda-spark-"))
        self._gateway: Any = None
        self.master = master
        try:
            self.session = self._start(driver_host, memory_mb)
        except BaseException as error:
            log = self._log_tail()
            self.close()
            if not isinstance(error, Exception):
                raise
            raise EngineError(
                f"Spark cannot start on {master}: {_first_line(error)}{log}",
                "Does the master answer at LAMBDA_SPARK_MASTER, and can the cluster reach LAMBDA_SPARK_DRIVER_HOST?",
            ) from error

    @property
    def is_local(self) -> bool:
        """Whether the driver computes by itself."""
        return self.master.startswith("local")

    @property
    def gateway_pid(self) -> int:
        """The driver's Java process."""
        return int(self._gateway.proc.pid)

    def executors(self) -> int:
        """How many there are beside the driver."""
        return int(self.session.sparkContext._jsc.sc().getExecutorMemoryStatus().size()) - 1

    def finished_tasks(self) -> int:
        """Of the stages that run now: another number than before means that something was done."""
        tracker = self.session.sparkContext.statusTracker()
        stages = (tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds())
        return sum(stage.numCompletedTasks for stage in stages if stage is not None)

    def has_master(self) -> bool:
        """Whether a master of the cluster can be connected to."""
        try:
            _reach(self.master)
        except EngineError:
            return False
        return True

    def close(self) -> None:
        """End the session, its Java process and its files."""
        from pyspark import SparkContext  # noqa: PLC0415 - an extra

        try:
            gateway = self._gateway
            if hasattr(self, "session"):
                stopping = threading.Thread(target=_stop, args=(self.session,), name="spark-stop", daemon=True)
                stopping.start()
                stopping.join(_STOP_SECONDS)
                if stopping.is_alive():  # a cluster that is lost never answers the driver's farewell
                    gateway.proc.kill()
                    stopping.join(_STOP_SECONDS)
            if gateway is not None:
                with contextlib.suppress(Exception):
                    gateway.shutdown()
                _end(gateway.proc)
        finally:
            SparkContext._gateway = SparkContext._jvm = SparkContext._active_spark_context = None
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, driver_host: str, memory_mb: int) -> Any:
        from pyspark import SparkConf, SparkContext  # noqa: PLC0415
        from pyspark.java_gateway import launch_gateway  # noqa: PLC0415
        from pyspark.sql import SparkSession  # noqa: PLC0415

        quiet = self._folder / "log4j2.properties"
        quiet.write_text(_QUIET)
        conf = SparkConf(loadDefaults=False).setAll(
            [
                ("spark.master", self.master),
                ("spark.app.name", "lambda_pipeline"),
                ("spark.driver.host", driver_host),
                ("spark.driver.bindAddress", driver_host),
                ("spark.driver.memory", f"{memory_mb}m"),
                ("spark.executor.memory", f"{memory_mb}m"),
                ("spark.driver.extraJavaOptions", f"-Dlog4j2.configurationFile={quiet.as_uri()} -Duser.timezone=UTC"),
                ("spark.local.dir", str(self._folder)),
                ("spark.sql.warehouse.dir", str(self._folder / "warehouse")),
                ("spark.sql.catalogImplementation", "in-memory"),
                ("spark.sql.session.timeZone", "UTC"),
                ("spark.sql.execution.arrow.pyspark.enabled", "true"),
                ("spark.ui.enabled", "false"),
                ("spark.ui.showConsoleProgress", "false"),
                ("spark.eventLog.enabled", "false"),
            ]
        )
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        with (self._folder / "log").open("wb") as log, _environment(SPARK_LOCAL_IP=driver_host):
            self._gateway = launch_gateway(  # type: ignore[no-untyped-call]
                conf, {"stdout": log, "stderr": log, "stdin": subprocess.PIPE, "cwd": self._folder}
            )
        return SparkSession(SparkContext(conf=conf, gateway=self._gateway))

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self._folder / "log").read_text(errors="replace").strip().splitlines()
            if found := [one for one in lines if "ERROR" in one or "Exception" in one or "Error:" in one]:
                return f" ({found[0][:300]})"
        return ""


def check_needs(master: str) -> None:
    """Raises SettingsError where Spark or Java is missing or the setting is malformed, EngineError for no master."""
    if not _MASTER.fullmatch(master):
        raise SettingsError(
            f"LAMBDA_SPARK_MASTER: {master!r} is no master.", "Write local[*], local[2] or spark://host:7077."
        )
    if importlib.util.find_spec("pyspark") is None:
        raise SettingsError(
            "LAMBDA_BATCH_ENGINE is spark, but the package pyspark is not installed.",
            "Install it: pip install 'lambda-pipeline[spark]'; or choose another engine.",
        )
    home = os.environ.get("JAVA_HOME")
    if not (shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")):
        where = f"below JAVA_HOME ({home})" if home else "in PATH, and JAVA_HOME is not set"
        raise SettingsError(
            f"LAMBDA_BATCH_ENGINE is spark, which needs Java 17 or newer, and there is no java {where}.",
            "Install it (on Debian: apt-get install openjdk-17-jre-headless); or choose another engine.",
        )
    if not master.startswith("local"):
        _reach(master)


def _reach(master: str) -> None:
    """One of the masters must answer: Spark itself would try for a minute."""
    reasons = []
    for one in master.removeprefix("spark://").split(","):
        try:
            parts = urlsplit(f"//{one}")
            with socket.create_connection((parts.hostname or "", parts.port or 7077), _CONNECT_SECONDS):
                return
        except (OSError, ValueError) as error:
            reasons.append(f"{one}: {getattr(error, 'strerror', None) or error}")
    raise EngineError(
        f"no Spark master can be reached ({'; '.join(reasons)}).",
        "Is LAMBDA_SPARK_MASTER right, and does the cluster run?",
    )


def _stop(session: Any) -> None:
    with contextlib.suppress(Exception):  # a driver that already died
        session.stop()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Java ends when its input does."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """What is not set yet is, for as long as a process is started."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
