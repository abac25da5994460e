"""The processes of a running platform: their commands, their environments, their ports."""

import os
import sys
from collections.abc import Callable
from datetime import date, timedelta

from lambda_pipeline.errors import EmbeddedServerError, SettingsError
from lambda_pipeline.local import processes
from lambda_pipeline.local.dagster_home import prepare_dagster_home
from lambda_pipeline.local.dashboard import dashboard_command
from lambda_pipeline.local.home import free_port
from lambda_pipeline.local.stack import Stack
from lambda_pipeline.local.supervisor import Service, Supervisor, listens, reachable
from lambda_pipeline.shipped import shipped_path

_QUIET_PYTHON = (sys.executable, "-W", "ignore", "-m")  # Dagster announces what of its own is deprecated
_BACKFILL_SECONDS = 1800.0
_KEYS = ("TOMTOM_API_KEY", "AQICN_TOKEN")  # for the one that asks the APIs
_WRITERS = ("DATABASE_URL", "LAMBDA_OWNER_DATABASE_URL", "LAMBDA_DAGSTER_DATABASE_URL", "LAMBDA_KAFKA_PASSWORD")


class Services:
    """What is started beside the servers of a stack. With a `seed` the APIs are a simulator's."""

    def __init__(self, stack: Stack, interval: timedelta, seed: int | None) -> None:
        """Free ports are chosen here. Raises SettingsError where Dagster has no database."""
        settings, addresses = stack.settings, stack.addresses()
        if addresses.dagster_url is None:
            raise SettingsError(
                "LAMBDA_DAGSTER_DATABASE_URL is not set.", "Write postgresql+psycopg2://user:password@host/dagster."
            )
        self._listen = settings.listen
        self._home = stack.home
        self._seed = seed
        self._simulator_port = free_port()
        self._dashboard_port = free_port(settings.dashboard_port)
        self._dagster_port = free_port(settings.dagster_port)
        self._code_port = free_port()
        host = reachable(self._listen)
        self.dashboard_url = f"http://{host}:{self._dashboard_port}"
        self.dagster_url = f"http://{host}:{self._dagster_port}"
        self.environment = {
            **os.environ,
            **addresses.environment(),
            **prepare_dagster_home(stack.home.path / "dagster", addresses.dagster_url),
            "LAMBDA_HOME": str(stack.home.path),
            "LAMBDA_CITY": settings.city_path(),
            "LAMBDA_POLL_INTERVAL": str(int(interval.total_seconds())),
            "LAMBDA_DAGSTER_CODE_HOST": "127.0.0.1",
            "LAMBDA_DAGSTER_CODE_PORT": str(self._code_port),
            "PYTHONUNBUFFERED": "1",
            **({"LAMBDA_ARCHIVE_URL": str(settings.archive_place)} if settings.archive_place else {}),
            "PYTHONSAFEPATH": "1",  # a gql.py in the folder where somebody starts must not become Dagster's
        }
        if seed is not None:
            address = f"http://127.0.0.1:{self._simulator_port}"
            self.environment |= {"LAMBDA_TOMTOM_URL": address, "LAMBDA_AQICN_URL": address}
        self.environment = {name: value for name, value in self.environment.items() if name not in _KEYS}
        keys = {"TOMTOM_API_KEY": settings.tomtom_api_key, "AQICN_TOKEN": settings.aqicn_token}
        if seed is not None:
            self._keys = dict.fromkeys(keys, "simulated")
        else:
            self._keys = {name: key.get_secret_value() for name, key in keys.items() if key is not None}

    def simulator(self) -> list[Service]:
        """The simulator, if there is to be one."""
        if self._seed is None:
            return []
        arguments = ("--port", str(self._simulator_port), "--seed", str(self._seed))
        return [self._ours("simulator", *arguments, ready=listens(self._simulator_port))]

    def speed(self) -> Service:
        """One speed daemon."""
        return self._ours("speed")

    def ingest(self) -> Service:
        """The ingestion daemon, the only one that is handed the keys."""
        more = ("--simulated",) if self._seed is not None else ()
        return self._ours("ingest", *more, environment=self.environment | self._keys)

    def dashboard(self) -> Service:
        """Streamlit, which is told no address but the reader's, and no keys."""
        environment = {name: value for name, value in self.environment.items() if name not in _WRITERS}
        command = dashboard_command(self._listen, self._dashboard_port)
        return Service("dashboard", command, environment, ready=listens(self._dashboard_port, self._listen))

    def dagster(self) -> list[Service]:
        """Code server, webserver and daemon."""
        workspace = ("-w", str(shipped_path("workspace.yaml")))
        code = ("-m", "lambda_pipeline.definitions", "-h", "127.0.0.1", "-p", str(self._code_port))
        web = ("-h", self._listen, "-p", str(self._dagster_port), *workspace)
        commands = {
            "dagster-code": (*_QUIET_PYTHON, "dagster", "code-server", "start", *code),
            "dagster-web": (*_QUIET_PYTHON, "dagster_webserver", *web),
            "dagster-daemon": (*_QUIET_PYTHON, "dagster._daemon", "run", *workspace),
        }
        ready = {"dagster-code": listens(self._code_port), "dagster-web": listens(self._dagster_port, self._listen)}
        return [
            Service(name, command, self.environment, ready.get(name), ready_timeout=180)
            for name, command in commands.items()
        ]

    def backfill(self, supervisor: Supervisor, first: date, until: date, *, closed_only: bool) -> None:
        """Publish the city days [first, until), or what is closed of them, in a process of its own, and wait for it.

        Raises EmbeddedServerError with the end of its log where it fails.
        """
        days = ("--from", first.isoformat(), "--to", until.isoformat())
        command = [*_QUIET_PYTHON, "lambda_pipeline", "backfill", *(["--closed-only"] if closed_only else []), *days]
        log = self._home.logs / "backfill.log"
        child = processes.spawn("backfill", command, log, self.environment)

        def is_over() -> bool:
            supervisor.tick()
            return not child.alive or supervisor.stop_requested

        processes.wait_until(is_over, _BACKFILL_SECONDS, interval=0.1)
        if child.alive:
            processes.stop(child)
            supervisor.raise_if_stopped()
            raise EmbeddedServerError(f"The backfill took more than {_BACKFILL_SECONDS:.0f} s.", f"See {log}.")
        if child.popen.wait() != 0:
            raise EmbeddedServerError(f"The backfill failed:\n{processes.log_tail(log)}\n", f"See {log}.")

    def _ours(
        self,
        command: str,
        *arguments: str,
        ready: Callable[[], bool] | None = None,
        environment: dict[str, str] | None = None,
    ) -> Service:
        argv = [sys.executable, "-m", "lambda_pipeline", command, *arguments]
        return Service(command, argv, environment or self.environment, ready)
