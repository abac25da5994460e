"""docker-compose.yml's services as processes of this machine: the same commands and variables, in the same order.

Every service has a loopback address of its own, as every container has one, so that ports stay as they are written.
Host names, 0.0.0.0 and 127.0.0.1 become these addresses, and the image's folders become folders of the test.
"""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from lambda_pipeline.local import processes
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.postgres import EmbeddedPostgres
from lambda_pipeline.local.processes import Child
from lambda_pipeline_tests.deploy.composition import REPOSITORY, Service, image_environment

DEADLINE = 120.0  # seconds; on an idle machine everything is healthy within half a minute
_OWN_ADDRESS = re.compile(r"(?<![\d.])(?:0\.0\.0\.0|127\.0\.0\.1)(?![\d.])")
_NOT_THE_IMAGES = ("HEAP_OPTS",)  # KAFKA_… that are no properties of the broker


@dataclass
class Running:
    """A service that was started, under a label: its name, or that of a replica."""

    label: str
    service: Service
    child: Child
    environment: dict[str, str]
    log_file: Path
    is_done: bool = False  # healthy, or a one-shot that ended well

    @property
    def log(self) -> str:
        """The end of what it has said."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")[-3000:]


class Machine:
    """The services of a composition, and where they are."""

    def __init__(self, services: Mapping[str, Service], folder: Path, number: int) -> None:
        """`number`, 0 to 65535, chooses the addresses: two tests that run at once need different ones."""
        self.services = services
        self.folder = folder
        self._network = f"127.{number >> 8 & 255}.{number & 255}"
        self._taken = 10
        self.addresses = {name: self._next_address() for name in services}
        self.places = {"postgres:5432": f"{self.addresses['postgres']}:5432"}
        self.running: dict[str, Running] = {}
        self._prepare_image()

    def environment(self, service: Service, address: str) -> dict[str, str]:
        """All variables that the service's processes see: the image's, then compose's. Nothing of this machine."""
        variables = {"HOME": "/srv/lambda", **image_environment(), **service.environment}
        return {name: self._place(self._here(service, value, address)) for name, value in variables.items()}

    def start(self, names: Iterable[str]) -> None:
        """Start services as `docker compose up` does: each once what it needs is healthy or has ended well."""
        waiting = list(names)
        started = time.monotonic()
        while waiting or not all(one.is_done for one in self.running.values()):
            for name in [name for name in waiting if self._may_start(name)]:
                self.launch(name)
                waiting.remove(name)
            for one in self.running.values():
                if not one.is_done:
                    one.is_done = self._is_done(one)
            if time.monotonic() - started > DEADLINE:
                late = [name for name, one in self.running.items() if not one.is_done]
                pytest.fail(f"not healthy in time: {late}. {self.running[late[0]].log if late else waiting}")
            time.sleep(0.1)

    def launch(self, name: str, replica: int = 1) -> None:
        """Start one service, or one more of it, as `--scale` does."""
        service = self.services[name]
        address = self.addresses[name] if replica == 1 else self._next_address()
        environment = self.environment(service, address)
        command = [self._here(service, part, address) for part in service.command]
        label = name if replica == 1 else f"{name}-{replica}"
        for place in ("tmp", "var"):
            (self.folder / name / place).mkdir(parents=True, exist_ok=True)
        log_file = self.folder / f"{label}.log"
        argv = [shutil.which(command[0], path=environment["PATH"]) or command[0], *command[1:]]
        child = processes.spawn(label, argv, log_file, environment, cwd=self.folder / "srv")
        self.running[label] = Running(label, service, child, {**environment, "ADDRESS": address}, log_file)

    def execute(self, label: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside a running service, as `docker compose exec` does."""
        one = self.running[label]
        argv = [self._here(one.service, part, one.environment["ADDRESS"]) for part in command]
        program = shutil.which(argv[0], path=one.environment["PATH"]) or argv[0]
        return subprocess.run(
            [program, *argv[1:]],
            cwd=self.folder / "srv",
            env=one.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def stop(self) -> dict[str, int]:
        """Stop all that runs, who needs others first, each within its time; their exit codes."""
        codes = {}
        while self.running:
            needed = {name for one in self.running.values() for name in one.service.needs}
            for one in [one for one in self.running.values() if one.service.name not in needed]:
                del self.running[one.label]
                one.child.popen.send_signal(signal.SIGTERM)
                try:
                    codes[one.label] = one.child.popen.wait(one.service.grace_seconds)
                except subprocess.TimeoutExpired:
                    processes.kill(one.child)
                    pytest.fail(f"{one.label} did not stop within {one.service.grace_seconds} s: {one.log}")
        return codes

    def kill(self) -> None:
        """End whatever still runs."""
        for one in self.running.values():
            processes.kill(one.child)

    def _may_start(self, name: str) -> bool:
        needs = [other for other in self.services[name].needs if self.services[other].is_ours]
        return all(other in self.running and self.running[other].is_done for other in needs)

    def _is_done(self, one: Running) -> bool:
        code = one.child.popen.poll()
        if one.service.is_one_shot:
            assert code in (None, 0), one.log
            return code == 0
        assert code is None, f"{one.service.name} ended with {code}: {one.log}"
        kind, *check = one.service.check
        assert kind == "CMD"
        return self.execute(one.label, *check).returncode == 0

    def _next_address(self) -> str:
        self._taken += 1
        return f"{self._network}.{self._taken}"

    def _place(self, value: str) -> str:
        """Other services as they are reached here: the servers where they listen, a bare name by its address."""
        for name, where in self.places.items():
            value = re.sub(rf"(?<![\w.-]){name}(?=/|,|$)", where, value)
        return self.addresses.get(value, value)

    def _here(self, service: Service, text: str, address: str) -> str:
        """What the container calls its own, as this machine has it: its address and its folders."""
        folders = {
            "/opt/lambda/bin": str(Path(sys.executable).parent),
            "/srv/lambda": str(self.folder / "srv"),
            "/var/lib/lambda": str(self.folder / service.name / "var"),
            "/tmp": str(self.folder / service.name / "tmp"),  # noqa: S108
        }
        pattern = re.compile(rf"(?<![\w/])({'|'.join(folders)})(?=[/:]|$)")
        return pattern.sub(lambda found: folders[found[1]], _OWN_ADDRESS.sub(address, text))

    def _prepare_image(self) -> None:
        """The image's folders, with what the Dockerfile copies there."""
        home = self.folder / "srv" / "dagster"
        (home / "storage").mkdir(parents=True)
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copyfile(REPOSITORY / name, home / name)
        (self.folder / "srv" / "cities").symlink_to(REPOSITORY / "cities")


@contextmanager
def postgres_server(machine: Machine, home: Home) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL with the settings of compose's command, made as the official image makes it: passwords over TCP."""
    service = machine.services["postgres"]
    settings = dict(part.removeprefix("-c").split("=", 1) for part in service.command[1:])
    server = EmbeddedPostgres(home, {**settings, "listen_addresses": machine.addresses["postgres"], "fsync": "off"})
    server.start()
    try:
        (server.data / "pg_hba.conf").write_text("local all all trust\nhost all all all scram-sha-256\n")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("alter role postgres password {}").format(service.environment["POSTGRES_PASSWORD"])
            )
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(service.environment["POSTGRES_DB"])))
            connection.execute("select pg_reload_conf()")
        yield server
    finally:
        server.stop()


class _ComposedKafka(EmbeddedKafka):
    """The broker with the properties that the official image makes of compose's variables."""

    variables: Mapping[str, str]

    def _properties(self, ports: object, data: Path) -> str:
        lines = []
        for name, value in self.variables.items():
            if name.removeprefix("KAFKA_") in _NOT_THE_IMAGES:
                continue
            key = name.removeprefix("KAFKA_").lower().replace("_", ".")
            text = re.sub(r"(0\.0\.0\.0|kafka):9092", f"127.0.0.1:{ports.broker}", value)  # type: ignore[attr-defined]
            text = text.replace(":9093", f":{ports.controller}")  # type: ignore[attr-defined]
            lines.append(f"{key}={data if key == 'log.dirs' else text}")
        return "\n".join(lines)


@contextmanager
def kafka_server(machine: Machine, home: Home, jars_cache: Path) -> Iterator[EmbeddedKafka]:
    """Kafka by compose's variables, at a free port: the other services are told that one."""
    broker = _ComposedKafka(home, jars_cache)
    broker.variables = machine.services["kafka"].environment
    broker.start(progress=False)
    machine.places["kafka:9092"] = broker.bootstrap_servers
    try:
        yield broker
    finally:
        broker.stop()
