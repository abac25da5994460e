"""What several commands share: settings, logs, days, signals."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

import typer

from lambda_pipeline.errors import TransientError
from lambda_pipeline.monitoring.logs import configure_logs, is_for_machines
from lambda_pipeline.monitoring.pulse import Pulse

if TYPE_CHECKING:
    from lambda_pipeline.domain.city_time import CityClock
    from lambda_pipeline.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0  # seconds between attempts while a server is away
FROM = typer.Option(..., "--from", metavar="DAY", help="First day, in city time (2025-01-31).")
TO = typer.Option(..., "--to", metavar="DAY", help="The day after the last one.")


def start(daemon: str = "") -> "Settings":
    """Settings of a command; a daemon is named, and its log on stderr begins with them. Raises SettingsError."""
    from lambda_pipeline.settings import load_settings

    settings = load_settings()
    if not daemon:
        configure_logs("WARNING", secrets=settings.secrets())
        return settings
    configure_logs(settings.log_level, service=daemon, style=settings.log_format, secrets=settings.secrets())
    logging.getLogger("lambda_pipeline").info("settings: %s", settings.describe())
    return settings


def say_error(message: str, next_action: str = "") -> None:
    """What ends a command, and what to do about it: on two lines, or on one of the log where that is for machines."""
    if is_for_machines():
        log.error("%s", message, extra={"next_action": next_action})
        return
    typer.secho(f"error: {message}", fg="red", err=True)
    if next_action:
        typer.echo(next_action, err=True)


def parse_instant(text: str, clock: "CityClock", option: str) -> datetime:
    """An instant from a day or a time, city time where it has no offset. Wrong usage where it is none."""
    try:
        instant = clock.parse(text)
        clock.city_date(instant + timedelta(days=2))  # the last representable days have no end
        return instant
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def parse_day(text: str, option: str) -> date:
    """A day of the city. Wrong usage where it is none."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a day; write 2025-01-31.", param_hint=option) from error


def parse_days(first: str, until: str) -> tuple[date, date]:
    """A half-open range of city days. Wrong usage where it is empty."""
    days = parse_day(first, "--from"), parse_day(until, "--to")
    if days[0] >= days[1]:
        raise typer.BadParameter(f"{until} is not after {first}; the range ends before --to.", param_hint="--to")
    return days


def covering_days(start: datetime, end: datetime, clock: "CityClock") -> tuple[date, date]:
    """The city days that [start, end) touches, half-open."""
    return clock.city_date(start), clock.city_date(end - timedelta(microseconds=1)) + timedelta(days=1)


def day_after(day: date) -> date:
    """The next day, where a half-open range that ends with `day` stops."""
    return day + timedelta(days=1)


_REFUSALS = ("InsufficientPrivilege", "ReadOnlySqlTransaction", "DiskFull")


def database_refusal(error: Exception) -> str | None:
    """What PostgreSQL or its driver says where an operator can mend it; None for any other error.

    Judged by names, so that `--help` imports no driver.
    """
    cause = getattr(error, "orig", None) or error
    kind = type(cause)
    if not kind.__module__.startswith("psycopg"):
        return None
    is_bad_option = kind.__name__ == "ProgrammingError" and getattr(cause, "sqlstate", None) is None
    return str(cause).strip().splitlines()[0] if is_bad_option or kind.__name__ in _REFUSALS else None


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets; a second signal ends the process at once."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def persist(attempt: Callable[[], T], stop: threading.Event, pulse: Pulse | None = None) -> T:
    """What `attempt` returns, tried again while a server is away, of which `pulse` is told.

    Ends the command, regularly, once `stop` is set.
    """
    pause = _FIRST_PAUSE
    while not stop.is_set():
        try:
            return attempt()
        except TransientError as error:
            log.warning("waiting %.1f s: %s", pause, error)
            if pulse is not None:
                pulse.waits(str(error))
            stop.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
    raise typer.Exit


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)
