"""`demo` and `up`: the whole platform on this machine."""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from lambda_pipeline.cli import common
from lambda_pipeline.cli.services import poll_interval, require_keys

if TYPE_CHECKING:
    from lambda_pipeline.local.stack import Stack
    from lambda_pipeline.local.supervisor import Service, Supervisor
    from lambda_pipeline.settings import Settings

DEMO_INTERVAL = timedelta(seconds=60)
ONCE_MINUTES = 70
CONSUME_SECONDS = 120.0


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(demo)
    app.command()(up)


def demo(
    once: bool = typer.Option(
        False, "--once", help="No browser parts: run once, print the balance of every hour, exit."
    ),
    seed: int = typer.Option(1, help="The same seed gives the same city."),
) -> None:
    """Run everything on a simulated city: no keys needed. Stop with Ctrl-C; the next start goes on where it was.

    With --once: a week of history and the last 70 minutes through Kafka and both layers, then a table that shows
    for every hour what was produced and what is served. Exits 1 if a row does not add up.
    """
    settings = common.start()
    if once:
        _once(settings, seed)
        return
    _run(settings, "demo", seed)


def up() -> None:
    """Run everything on the live APIs, with TOMTOM_API_KEY and AQICN_TOKEN from .env. Stop with Ctrl-C."""
    settings = common.start()
    require_keys(settings)
    _run(settings, "up", None)


def _run(settings: "Settings", what: str, seed: int | None) -> None:
    """Start servers, daemons, history (demo), dashboard and Dagster, and show a live status until told to stop."""
    from lambda_pipeline.cli.screen import Screen
    from lambda_pipeline.local.home import Home
    from lambda_pipeline.local.stack import Stack
    from lambda_pipeline.local.supervisor import Supervisor

    interval = poll_interval(settings, settings.city)
    if seed is not None:
        interval = settings.poll_interval or DEMO_INTERVAL
    home = Home(settings.home)
    stack = Stack(settings, home)
    _fetch_jars(stack)
    with home.lock(what), Supervisor(home) as supervisor, Screen(settings, home.logs) as screen:
        screen.say(f"Starting in {home.path} …")
        supervisor.start(stack.servers)
        if supervisor.stop_requested:
            return
        stack.prepare(interval)
        services = _Services(settings, stack, interval, seed)
        supervisor.start(services.daemons())
        if seed is not None and not supervisor.stop_requested:
            _write_history(stack, seed, interval, screen.say)
        services.backfill_recent(supervisor, screen.say)
        supervisor.start([services.dashboard()])
        screen.served_at("Dashboard", services.dashboard_url)
        supervisor.start(services.dagster())
        screen.served_at("Dagster", services.dagster_url)
        if not supervisor.stop_requested:
            screen.follow(stack.addresses().reader_url)
            supervisor.run(on_tick=screen.show)
        screen.say("Stopping …")
    typer.echo("Stopped. The next start goes on where this one was.")


class _Services:
    """The processes of a running platform: their commands and environments."""

    def __init__(self, settings: "Settings", stack: "Stack", interval: timedelta, seed: int | None) -> None:
        from lambda_pipeline.local.dagster_home import prepare_dagster_home
        from lambda_pipeline.local.home import free_port

        self._settings = settings
        self._seed = seed
        self._home = stack.home
        addresses = stack.addresses()
        if addresses.dagster_url is None:
            from lambda_pipeline.errors import SettingsError

            raise SettingsError(
                "LAMBDA_DAGSTER_DATABASE_URL is not set.", "Write postgresql+psycopg2://user:password@host/dagster."
            )
        self._simulator_port = free_port()
        self._dashboard_port = free_port(settings.dashboard_port)
        self._dagster_port = free_port(settings.dagster_port)
        self._code_port = free_port()
        self._environment = (
            os.environ
            | addresses.environment()
            | {
                "LAMBDA_HOME": str(stack.home.path),
                "LAMBDA_CITY": settings.city_path(),
                "LAMBDA_POLL_INTERVAL": str(int(interval.total_seconds())),
                "LAMBDA_DAGSTER_CODE_HOST": "127.0.0.1",
                "LAMBDA_DAGSTER_CODE_PORT": str(self._code_port),
                "PYTHONUNBUFFERED": "1",
                "PYTHONSAFEPATH": "1",  # a gql.py in the folder where somebody starts must not become Dagster's
            }
            | prepare_dagster_home(stack.home.path / "dagster", addresses.dagster_url)
        )
        if seed is not None:
            address = f"http://127.0.0.1:{self._simulator_port}"
            self._environment |= {
                "LAMBDA_TOMTOM_URL": address,
                "LAMBDA_AQICN_URL": address,
                "TOMTOM_API_KEY": "simulated",
                "AQICN_TOKEN": "simulated",
            }  # fmt: skip
        self.dashboard_url = f"http://{settings.listen}:{self._dashboard_port}"
        self.dagster_url = f"http://{settings.listen}:{self._dagster_port}"

    def daemons(self) -> "list[Service]":
        """Simulator (demo), ingest and speed."""
        from lambda_pipeline.local.supervisor import listens

        services = []
        if self._seed is not None:
            arguments = ["simulator", "--port", str(self._simulator_port), "--seed", str(self._seed)]
            services.append(self._ours("simulator", *arguments, ready=listens(self._simulator_port)))
        return [*services, self._ours("speed", "speed"), self._ours("ingest", "ingest")]

    def dashboard(self) -> "Service":
        """Streamlit, which may only read."""
        from lambda_pipeline.local.dashboard import dashboard_command
        from lambda_pipeline.local.supervisor import Service, listens

        secret = {
            "DATABASE_URL",
            "LAMBDA_OWNER_DATABASE_URL",
            "LAMBDA_DAGSTER_DATABASE_URL",
            "TOMTOM_API_KEY",
            "AQICN_TOKEN",
        }
        environment = {name: value for name, value in self._environment.items() if name not in secret}
        argv = dashboard_command(self._settings.listen, self._dashboard_port)
        return Service("dashboard", argv, environment, ready=listens(self._dashboard_port))

    def dagster(self) -> "list[Service]":
        """Code server, webserver and daemon."""
        from lambda_pipeline.local.supervisor import Service, listens
        from lambda_pipeline.shipped import shipped_path

        workspace = ["-w", str(shipped_path("workspace.yaml"))]
        code = [
            "code-server",
            "start",
            "-m",
            "lambda_pipeline.definitions",
            "-h",
            "127.0.0.1",
            "-p",
            str(self._code_port),
        ]
        web = ["-h", self._settings.listen, "-p", str(self._dagster_port), *workspace]
        python = [sys.executable, "-W", "ignore", "-m"]
        environment = self._environment
        return [
            Service("dagster-code", [*python, "dagster", *code], environment, listens(self._code_port), 120),
            Service("dagster-web", [*python, "dagster_webserver", *web], environment, listens(self._dagster_port), 120),
            Service("dagster-daemon", [*python, "dagster._daemon", "run", *workspace], environment),
        ]

    def backfill_recent(self, supervisor: "Supervisor", say: "Callable[[str], None]") -> None:
        """Publish what is closed of the last days, in a process of its own, so that there is something to look at."""
        from lambda_pipeline.local import processes
        from lambda_pipeline.local.demo import HISTORY_DAYS

        if supervisor.stop_requested:
            return
        clock = self._settings.city.clock()
        today = clock.city_date(common.utc_now())
        first = max(today - timedelta(days=HISTORY_DAYS), self._settings.history_start)
        argv = [sys.executable, "-W", "ignore", "-m", "lambda_pipeline", "backfill", "--closed-only",
                "--from", str(first), "--to", str(common.day_after(today))]  # fmt: skip
        log = self._home.logs / "backfill.log"
        say(f"Publishing the days since {first} …")
        child = processes.spawn("backfill", argv, log, self._environment)
        processes.wait_until(lambda: not child.alive or supervisor.stop_requested, timeout=600, interval=0.1)
        if child.alive:
            processes.stop(child)

    def _ours(self, name: str, *arguments: str, ready: "Callable[[], bool] | None" = None) -> "Service":
        from lambda_pipeline.local.supervisor import Service

        return Service(name, [sys.executable, "-m", "lambda_pipeline", *arguments], self._environment, ready=ready)


def _fetch_jars(stack: "Stack") -> None:
    """Download Kafka's jars before anything is started, with a progress bar; nothing to do when they are there."""
    if stack.broker is not None:
        from lambda_pipeline.local.jars import ensure_jars

        ensure_jars(stack.broker.jars_cache)


def _write_history(stack: "Stack", seed: int, step: timedelta, say: "Callable[[str], None]") -> None:
    """A week of simulated history into raw_data, once in the life of a database."""
    from lambda_pipeline.batch.raw_data import import_observations
    from lambda_pipeline.ingestion.poller import aligned_slot
    from lambda_pipeline.local.demo import has_history, simulated_history
    from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine

    engine = make_engine(stack.addresses().writer_url, "history", BATCH_TIMEOUTS)
    if not has_history(engine):
        say("Writing a week of simulated history …")
        until = aligned_slot(common.utc_now(), step)
        simulated_history(
            engine, stack.settings.city, seed, until, step,
            lambda chunk: import_observations(engine, chunk, "simulated history"),
        )  # fmt: skip
    engine.dispose()


def _once(settings: "Settings", seed: int) -> None:
    """The pipeline from one end to the other, then the balance of every hour."""
    from lambda_pipeline.cli.once import run_once
    from lambda_pipeline.local.home import Home
    from lambda_pipeline.local.stack import Stack

    _fetch_jars(Stack(settings, Home(settings.home)))
    if not run_once(settings, seed):
        raise typer.Exit(1)
