"""Engines and transactions.

Every session carries time-outs, so that a process frozen in the middle of a transaction cannot stop the others.
"""

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg import errors as pg_errors

from lambda_pipeline.errors import DatabaseUnavailableError, SchemaError, SettingsError

logger = logging.getLogger(__name__)
T = TypeVar("T")
Isolation = Literal["READ COMMITTED", "REPEATABLE READ"]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; 0 is none. `transaction` bounds a whole transaction, also one whose client is frozen."""

    lock: float = 10
    transaction: float = 60
    idle_in_transaction: float = 30

    def options(self) -> str:
        """As PostgreSQL command-line options (milliseconds)."""
        milliseconds = {
            "lock_timeout": self.lock * 1000,
            "transaction_timeout": self.transaction * 1000,
            "idle_in_transaction_session_timeout": self.idle_in_transaction * 1000,
            "client_connection_check_interval": 2000,
        }
        return " ".join(["-c timezone=UTC", *(f"-c {name}={int(value)}" for name, value in milliseconds.items())])


DAEMON_TIMEOUTS = Timeouts()
COMMIT_TIMEOUTS = Timeouts(
    idle_in_transaction=10
)  # of what commits all the time: while it hangs, a publish waits for it
BATCH_TIMEOUTS = Timeouts(lock=60, transaction=3600, idle_in_transaction=600)
UPGRADE_TIMEOUTS = Timeouts(lock=60, transaction=24 * 3600, idle_in_transaction=600)  # it may move years of rows


def make_engine(
    url: str, application: str, timeouts: Timeouts = DAEMON_TIMEOUTS, pool_size: int = 5, connect_seconds: int = 10
) -> sa.Engine:
    """An engine on psycopg 3. `application` shows in pg_stat_activity. Needs PostgreSQL 17 or newer.

    Raises SettingsError for an address that is not PostgreSQL's. Does not connect.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise SettingsError(
            "DATABASE_URL is not a database address.", "Write postgresql://user:password@host:5432/name."
        ) from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise SettingsError(
            f"DATABASE_URL names {parsed.get_backend_name()}, not PostgreSQL.",
            "Write postgresql://user:password@host:5432/name.",
        )
    return sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        pool_pre_ping=True,
        connect_args={
            "application_name": f"lambda-pipeline {application}",
            "options": timeouts.options(),
            "connect_timeout": connect_seconds,
            "keepalives_idle": 30,  # seconds; with these a host that vanished is noticed within a minute
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,  # milliseconds
        },
    )


@contextmanager
def session(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One connection for several transactions (`begin`) that share temporary tables; raises like `transaction`."""
    with _our_errors(), engine.connect() as connection:
        yield connection


@contextmanager
def begin(
    connection: sa.Connection, isolation: Isolation = "READ COMMITTED", *, read_only: bool = False
) -> Iterator[None]:
    """A transaction on a session's connection: committed when the block ends, rolled back when it raises."""
    connection.execution_options(isolation_level=isolation, postgresql_readonly=read_only)
    with _our_errors(), connection.begin():
        yield


@contextmanager
def transaction(
    engine: sa.Engine, isolation: Isolation = "READ COMMITTED", *, read_only: bool = False
) -> Iterator[sa.Connection]:
    """One transaction: committed when the block ends, rolled back when it raises.

    Raises DatabaseUnavailableError where the server is away or breaks the connection, SchemaError where a table or
    column is missing; other database errors pass through.
    """
    with session(engine) as connection, begin(connection, isolation, read_only=read_only):
        yield connection


def bound_transaction(
    connection: sa.Connection, seconds: int = 60, idle_seconds: int = 10, lock_seconds: int = 30
) -> None:
    """Bound this transaction alone: it holds a lock that others wait for, and must not outlive a frozen client.

    It waits for a lock less long than it may last: giving up a lock is tried again (`retrying`), the end of the
    transaction would end the session with it, and its temporary tables. A session that waits less stays so.
    """
    connection.execute(sa.text(f"set local transaction_timeout = '{int(seconds)}s'"))
    connection.execute(sa.text(f"set local idle_in_transaction_session_timeout = '{int(idle_seconds)}s'"))
    connection.execute(
        sa.text(
            "select set_config('lock_timeout', :most, true) "
            "where current_setting('lock_timeout')::interval > cast(:most as interval)"
        ),
        {"most": f"{int(lock_seconds)}s"},
    )


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        ours = translate(error)
        if ours is error:
            raise
        raise ours from error
    except psycopg.Error as error:  # from COPY, which goes past SQLAlchemy
        ours = translate_driver(error)
        if ours is error:
            raise
        raise ours from error


def translate(error: sa.exc.DBAPIError) -> Exception:
    """Ours for a database error that an operator can meet; the error itself otherwise."""
    cause = error.orig
    if isinstance(cause, psycopg.Error):
        ours = translate_driver(cause)
        return ours if ours is not cause else error
    return error


def translate_driver(cause: psycopg.Error) -> Exception:
    """Like `translate`, for psycopg's own errors."""
    if isinstance(cause, pg_errors.UndefinedTable | pg_errors.UndefinedColumn | pg_errors.UndefinedFunction):
        first = str(cause).splitlines()[0]
        return SchemaError(
            f"the database's schema is not this version's: {first}.", "Run `lambda-pipeline db upgrade`."
        )
    if isinstance(cause, pg_errors.DiskFull):
        return DatabaseUnavailableError(f"PostgreSQL's disk is full: {cause}", "Make room; nothing was lost.")
    if isinstance(cause, _TIMED_OUT):
        return DatabaseUnavailableError("PostgreSQL ended a transaction that took too long.", "It will be tried again.")
    if isinstance(cause, psycopg.OperationalError) and not isinstance(cause, _RETRYABLE):
        first = (str(cause).splitlines() or ["connection lost"])[0]
        is_about_tls = any(word in first for word in ("SSL", "certificate", "encryption"))
        return DatabaseUnavailableError(
            f"PostgreSQL is not answering: {first}",
            "Are sslmode and sslrootcert in DATABASE_URL right for this server?"
            if is_about_tls
            else "Is it running, and is DATABASE_URL right?",
        )
    return cause


_TIMED_OUT = (pg_errors.IdleInTransactionSessionTimeout, pg_errors.TransactionTimeout)
_RETRYABLE = (pg_errors.SerializationFailure, pg_errors.DeadlockDetected, pg_errors.LockNotAvailable)


def is_conflict(error: BaseException) -> bool:
    """Whether a transaction lost against another one and may simply be run again."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return isinstance(cause, _RETRYABLE)


def retrying(work: Callable[[], T], attempts: int = 5, stop: threading.Event | None = None) -> T:
    """Run a whole transaction again when it lost against another (deadlock, serialization, lock time-out).

    Waits a little longer each time, with jitter; `stop` ends the waiting.
    """
    waiting = stop or threading.Event()
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except (sa.exc.DBAPIError, psycopg.Error) as error:
            if not is_conflict(error) or attempt == attempts:
                raise
            pause = min(2.0, 0.05 * 2**attempt) * (0.5 + random.random())  # noqa: S311 - jitter, not a secret
            logger.info("transaction lost against another, attempt %d of %d: %s", attempt, attempts, error)
            waiting.wait(pause)
    raise RuntimeError("unreachable")
