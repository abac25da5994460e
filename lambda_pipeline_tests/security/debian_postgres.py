"""Debian's PostgreSQL, which has TLS as the embedded one has not: found, installed where that is allowed, or asked for.

`python -m lambda_pipeline_tests.security.debian_postgres` is what `make tls-server` runs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from lambda_pipeline.local import access, processes
from lambda_pipeline.local.home import free_port
from lambda_pipeline_tests.debian import provide
from lambda_pipeline_tests.security.certificates import Issued

PASSWORD = "secret-of-the-test"
_FOLDER = Path("/usr/lib/postgresql")
_START_SECONDS = 60.0
_HBA = """\
local all all trust
hostssl all all 127.0.0.1/32 scram-sha-256
"""


def find_programs() -> Path | None:
    """The folder with the newest server's programs, or None."""
    found = [path for path in _FOLDER.glob("*/bin") if (path / "initdb").exists() and path.parent.name.isdecimal()]
    return max(found, key=lambda path: int(path.parent.name), default=None)


@dataclass(frozen=True)
class TlsServer:
    """A running server that takes no connection without TLS; `user` has the password PASSWORD."""

    port: int
    user: str = "lambda_writer"

    def url(self, host: str = "127.0.0.1", password: str = PASSWORD, **parameters: str) -> str:
        """An address of it with libpq's parameters."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql://{self.user}:{password}@{host}:{self.port}/postgres?{query}"


@contextmanager
def running(programs: Path, issued: Issued) -> Iterator[TlsServer]:
    """A server with this certificate, and a cluster that is gone afterwards. Main thread only."""
    with tempfile.TemporaryDirectory(prefix="lambda-tls-", ignore_cleanup_errors=True) as name:
        folder, data = Path(name), Path(name) / "data"
        user = access.server_user(data)
        folder.chmod(0o755)
        data.mkdir()
        for source, target in ((issued.certificate, "server.crt"), (issued.key, "server.key")):
            shutil.copyfile(source, folder / target)
            (folder / target).chmod(0o600)
        if user is not None:
            for path in (folder, data, folder / "server.crt", folder / "server.key"):
                os.chown(path, user.uid, user.gid)
        environment = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": os.defpath}
        made = subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"],
            user=user and user.uid, group=user and user.gid, extra_groups=None if user is None else [],
            env=environment, cwd=data, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        (data / "pg_hba.conf").write_text(_HBA)
        port = free_port()
        options = {
            "listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": str(folder),
            "ssl": "on", "ssl_cert_file": str(folder / "server.crt"), "ssl_key_file": str(folder / "server.key"),
            "fsync": "off", "shared_buffers": "16MB", "password_encryption": "scram-sha-256",
        }  # fmt: skip
        command = [str(programs / "postgres"), "-D", str(data)]
        command += [f"-c{option}={value}" for option, value in options.items()]
        child = processes.spawn("PostgreSQL with TLS", command, folder / "log", environment, user=user, cwd=data)
        try:
            _make_user(child, f"postgresql://postgres@/postgres?host={folder}&port={port}", folder / "log")
            yield TlsServer(port)
        finally:
            processes.stop(child)


def _make_user(child: processes.Child, address: str, log: Path) -> None:
    def answers() -> bool:
        try:
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute(f"create role {TlsServer.user} login password '{PASSWORD}'")
        except psycopg.OperationalError:
            return not child.alive
        return True

    assert processes.wait_until(answers, _START_SECONDS), processes.log_tail(log)
    assert child.alive, processes.log_tail(log)


def main() -> int:
    """Make sure that there is a server with TLS; exit code 1 with advice where there is none."""
    return provide(
        "postgresql",
        find_programs,
        "The tests of TLS need a PostgreSQL server below /usr/lib/postgresql, and there is none. Install it (on "
        "Debian: apt-get install postgresql).",
    )


if __name__ == "__main__":
    sys.exit(main())
