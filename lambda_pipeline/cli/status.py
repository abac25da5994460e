"""`lambda-pipeline status`: the one screen of an operator. What is wrong comes first, with what to do about it."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from lambda_pipeline import __version__
from lambda_pipeline.cli import common
from lambda_pipeline.cli.signs import disk
from lambda_pipeline.errors import (
    BrokerUnavailableError,
    DatabaseUnavailableError,
    EmbeddedServerError,
    LambdaPipelineError,
    TransientError,
)

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lambda_pipeline.local.home import Home
    from lambda_pipeline.local.stack import Addresses
    from lambda_pipeline.settings import Settings

HEALTHY, ATTENTION, UNKNOWN = 0, 1, 2
_STATES = {HEALTHY: "healthy", ATTENTION: "attention", UNKNOWN: "unknown"}
_SECONDS = 8.0  # after which a server counts as one that does not answer
_CONNECT_SECONDS = 3


def status(
    as_json: bool = typer.Option(False, "--json", help="For programs; docs/operations.md lists the keys."),
) -> None:
    """How the platform is: what is wrong and what to do, who is alive, what waits, how fresh each layer is.

    Exits 0 where all is well, 1 where something needs attention, 2 where PostgreSQL, Kafka or Dagster's storage does
    not answer, so that nobody can tell.
    """
    settings = common.start()
    from lambda_pipeline.local.home import Home

    home = Home(settings.home)
    with _servers(settings, home) as addresses:
        report = _report(settings, home, addresses)
    code = _judge(report)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        from lambda_pipeline.cli.status_screen import show

        show(report)
    raise typer.Exit(code)


@contextmanager
def _servers(settings: "Settings", home: "Home") -> Iterator["Addresses | None"]:
    """Where the servers are, whether or not they answer; None where none was ever started here.

    Where nothing runs on an embedded database it is started for the while, as for any command.
    """
    from lambda_pipeline.local.stack import Stack, running_stack

    stack = Stack(settings, home)
    is_at_rest = stack.postgres is not None and home.holder() is None and not stack.postgres.is_running()
    if not is_at_rest:
        try:
            addresses = stack.addresses()
        except EmbeddedServerError:  # no Kafka was started yet
            addresses = Stack(settings, home, kafka=False).addresses()
        yield addresses
    elif stack.has_database():
        with running_stack(settings, "status", kafka=False) as started:
            yield started.addresses()
    else:
        yield None


def _report(settings: "Settings", home: "Home", addresses: "Addresses | None") -> dict[str, Any]:
    """Everything that is known now; keys of what cannot be asked are None or empty."""
    from lambda_pipeline.serving.status import lag

    parts: dict[str, Callable[[], Any]] = {
        "postgresql": partial(_ask_database, addresses, settings),
        "kafka": partial(_ask_kafka, addresses, settings),
    }
    if addresses is not None and addresses.dagster_url is not None:
        parts["dagster"] = partial(_ask_dagster, addresses.dagster_url)
    answers = _ask_all(parts)
    servers = {name: _server(answer) for name, answer in answers.items()}
    holder = home.holder()
    is_ours = holder is not None and holder.pid == os.getpid()
    report: dict[str, Any] = {
        "health": "",
        "problems": [],
        "version": __version__,
        "city": settings.city.name,
        "timezone": settings.city.timezone,
        "running": None if holder is None or is_ours else f"{holder.what} (pid {holder.pid})",
        "servers": servers,
        "database": None,
        "daemons": [],
        "dagster": None,
        "lag": None,
        "layers": [],
        "poll_interval_seconds": None,
        "offsets_moved_seconds_ago": None,
        "published_hours": None,
        "stale_hours": None,
        "waiting_days": [],
        "needs_attention": [],
        "dead_letters": None,
        "disk": disk(home.path),
    }
    if servers["postgresql"]["answers"]:
        found, positions = answers["postgresql"]
        report |= found
        if servers["kafka"]["answers"] and answers["kafka"] is not None:
            report["lag"] = lag(answers["kafka"], positions, settings.kafka_topic)
    if "dagster" in servers and servers["dagster"]["answers"]:
        report["dagster"] = [asdict(part) for part in answers["dagster"]]
    return report


def _judge(report: dict[str, Any]) -> int:
    """Write the problems into the report; the exit code."""
    from lambda_pipeline.serving.health import find_problems

    problems = find_problems(report)
    report["problems"] = [
        {"about": problem.about, "text": problem.text, "action": problem.action} for problem in problems
    ]
    is_unknown = any(problem.is_unknown for problem in problems)
    code = (UNKNOWN if is_unknown else ATTENTION) if problems else HEALTHY
    report["health"] = _STATES[code]
    return code


def _ask_database(addresses: "Addresses | None", settings: "Settings") -> Any:
    from lambda_pipeline.serving.status import read_status
    from lambda_pipeline.storage.deployment import require_city
    from lambda_pipeline.storage.engine import transaction
    from lambda_pipeline.storage.migrate import require_newest

    if addresses is None:
        raise DatabaseUnavailableError("There is no database here yet.", "Start: `lambda-pipeline up` (or `demo`).")
    with _engine(addresses.reader_url) as engine:
        require_newest(engine)
        with transaction(engine, read_only=True) as database:
            require_city(database, settings.city)
        return read_status(engine)


def _ask_kafka(addresses: "Addresses | None", settings: "Settings") -> Any:
    from lambda_pipeline.serving.log_state import read_log

    if addresses is None or addresses.kafka is None:
        raise BrokerUnavailableError("The embedded Kafka is not running.", "Start: `lambda-pipeline up` (or `demo`).")
    return read_log(addresses.connection(), settings.kafka_topic, common.utc_now())


def _ask_dagster(url: str) -> Any:
    from lambda_pipeline.errors import SchemaError
    from lambda_pipeline.serving.dagster_state import read_dagster

    with _engine(url) as engine:
        try:
            return read_dagster(engine)
        except SchemaError:  # Dagster makes its tables at its first start
            return []


@contextmanager
def _engine(url: str) -> Iterator["sa.Engine"]:
    """An engine that gives up soon."""
    from lambda_pipeline.storage.engine import Timeouts, make_engine

    timeouts = Timeouts(lock=_CONNECT_SECONDS, transaction=_SECONDS, idle_in_transaction=_SECONDS)
    engine = make_engine(url, "status", timeouts, pool_size=1, connect_seconds=_CONNECT_SECONDS)
    try:
        yield engine
    finally:
        engine.dispose()


def _ask_all(parts: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """What each part answers, or the TransientError that says why not. All at once, none longer than `_SECONDS`.

    Raises what else one of them raises: somebody must mend that before anything can be told.
    """
    answers: dict[str, Any] = {}

    def ask(name: str, part: Callable[[], Any]) -> None:
        try:
            answers[name] = part()
        except BaseException as error:
            answers[name] = error

    # Threads of our own, since those of a pool are waited for at the end, and one may hang on a frozen server.
    threads = [threading.Thread(target=ask, args=part, daemon=True) for part in parts.items()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + _SECONDS
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0))
    found = dict(answers)
    for answer in found.values():
        if isinstance(answer, BaseException) and not isinstance(answer, TransientError):
            raise answer
    late = TransientError(f"It did not answer within {_SECONDS:.0f} seconds.", "Is it overloaded, or frozen?")
    return {name: found.get(name, late) for name in parts}


def _server(answer: Any) -> dict[str, Any]:
    if isinstance(answer, LambdaPipelineError):
        return {"answers": False, "error": answer.message, "action": answer.next_action}
    return {"answers": True, "error": None, "action": None}
