"""`demo` and `up`: the whole platform on this machine. `dashboard`: only the page."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from lambda_pipeline.cli import common
from lambda_pipeline.cli.services import poll_interval, require_keys
from lambda_pipeline.errors import SettingsError

if TYPE_CHECKING:
    from lambda_pipeline.settings import Settings

DEMO_INTERVAL = timedelta(seconds=60)  # the simulator has no quota, and whoever watches wants to see something


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(demo)
    app.command()(up)
    app.command()(dashboard)


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
    if not once:
        _run(settings, "demo", seed)
        return
    from lambda_pipeline.cli.once import run_once

    if not run_once(settings, seed):
        raise typer.Exit(1)


def up() -> None:
    """Run everything on the live APIs, with TOMTOM_API_KEY and AQICN_TOKEN from .env. Stop with Ctrl-C."""
    settings = common.start()
    require_keys(settings)
    _run(settings, "up", None)


def dashboard(
    sign_in: bool = typer.Option(
        False, "--sign-in", help="Only for those whom .streamlit/secrets.toml lets in (deploy/secrets.example.toml)."
    ),
) -> None:
    """Serve the dashboard at LAMBDA_LISTEN and LAMBDA_DASHBOARD_PORT, until stopped; `demo` and `up` do so, too.

    Needs LAMBDA_READER_DATABASE_URL (or DATABASE_URL), and no other server.
    """
    settings = common.start()
    from lambda_pipeline.local.dashboard import dashboard_command
    from lambda_pipeline.local.home import is_free

    if not is_free(settings.dashboard_port, settings.listen):
        raise SettingsError(
            f"Port {settings.dashboard_port} on {settings.listen} is taken by another program.",
            "Stop that one, or set LAMBDA_DASHBOARD_PORT to another port.",
        )
    command = dashboard_command(settings.listen, settings.dashboard_port, sign_in=sign_in)
    os.execv(command[0], command)  # noqa: S606  # signals reach Streamlit itself


def _run(settings: "Settings", what: str, seed: int | None) -> None:
    """Start servers, daemons, history (demo), dashboard and Dagster, and show a live status until told to stop."""
    from lambda_pipeline.cli.history import recent_days, write_history
    from lambda_pipeline.cli.screen import Screen
    from lambda_pipeline.ingestion.schedule import aligned_slot
    from lambda_pipeline.local.home import Home
    from lambda_pipeline.local.services import Services
    from lambda_pipeline.local.stack import Stack
    from lambda_pipeline.local.supervisor import Supervisor

    interval = poll_interval(settings, settings.city)
    if seed is not None:
        interval = settings.poll_interval or DEMO_INTERVAL
    home = Home(settings.home)
    stack = Stack(settings, home)
    stack.fetch_jars()
    with home.lock(what), Supervisor(home) as supervisor, Screen(settings, home.logs) as screen:
        screen.say(f"Starting in {home.path} …")
        supervisor.start(stack.servers)
        supervisor.raise_if_stopped()
        stack.prepare(interval)
        stack.settle_origin(is_simulated=seed is not None)
        services = Services(stack, interval, seed)
        supervisor.start([*services.simulator(), services.speed(), services.ingest()])
        supervisor.raise_if_stopped()
        has_new_history = False
        if seed is not None:
            until = aligned_slot(common.utc_now(), interval)
            has_new_history = write_history(stack, seed, until, interval, screen.say)
        supervisor.raise_if_stopped()
        days = recent_days(settings)
        screen.say(f"Publishing the days since {days[0]} …")
        services.backfill(supervisor, *days, closed_only=not has_new_history)
        supervisor.start([services.dashboard()])
        supervisor.raise_if_stopped()
        screen.served_at("Dashboard", services.dashboard_url)
        supervisor.start(services.dagster())
        supervisor.raise_if_stopped()
        screen.served_at("Dagster", services.dagster_url)
        screen.follow(stack.addresses().reader_url)
        supervisor.run(on_tick=screen.show)
        screen.say("Stopping …")
    typer.echo("Stopped. The next start goes on where this one was.")
