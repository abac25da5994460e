"""Backups: the city's database and Dagster's, each as pg_dump writes it, and the way back into empty ones.

A dump is one snapshot, taken while everything runs. Kafka has no part in it: the offsets and frontiers that a dump
holds say where both layers go on in the log, so what came after it is read again, as long as the log keeps it.
"""

import logging
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from lambda_pipeline.errors import BackupError, DatabaseUnavailableError
from lambda_pipeline.local import processes
from lambda_pipeline.local.programs import client_program, libpq_address
from lambda_pipeline.local.stack import Stack
from lambda_pipeline.storage.sql import sql_text

logger = logging.getLogger(__name__)

_LOCK_SECONDS = 300  # that a dump waits for whoever changes a table's form, as the first row of a month does
_OWNER = "lambda_owner"
_RELATIONS = (  # that no extension brought
    "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p', 'v', 'm', 'S') "
    "and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid "
    "and d.deptype = 'e') order by 1"
)


@dataclass(frozen=True, slots=True)
class Dump:
    """A file that was written or read back."""

    database: str
    file: Path
    bytes: int


@dataclass(frozen=True, slots=True)
class _Source:
    """A database and its file in a backup. `url` is its owner's."""

    name: str
    file_name: str
    url: str
    is_citys: bool


def dump(stack: Stack, folder: Path) -> list[Dump]:
    """Write the city's database, and Dagster's where one is set, to `folder`, which only its owner may enter.

    Raises BackupError where the folder holds a backup already, or where pg_dump fails; then no file is left that
    looks like a backup.
    """
    sources = list(_sources(stack))
    for source in sources:
        if (folder / source.file_name).exists():
            raise BackupError(f"{folder} holds a backup already.", "Name another folder.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackupError(f"The folder {folder} cannot be made: {error.strerror}.", "Name another one.") from error
    drafts = {source.file_name: folder / f"{source.file_name}.part" for source in sources}
    try:
        for source in sources:
            options = ("--format=custom", f"--lock-wait-timeout={_LOCK_SECONDS}s")
            _run("pg_dump", stack, source, *options, f"--file={drafts[source.file_name]}")
        return [_kept(source, drafts[source.file_name].replace(folder / source.file_name)) for source in sources]
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def restore(stack: Stack, folder: Path) -> list[Dump]:
    """Bring a backup back into databases that hold nothing yet, making the roles that a new server lacks.

    Each database in one transaction. What is not in the backup, Dagster's database say, is left as it is. The owner's
    address must be a superuser's, or that of a user who may make roles. Raises BackupError where there is no backup,
    where a database is not empty, or where pg_restore fails.
    """
    sources = [source for source in _sources(stack) if source.is_citys or (folder / source.file_name).exists()]
    for source in sources:
        if not (folder / source.file_name).is_file():
            raise BackupError(
                f"{folder} holds no backup: there is no {source.file_name}.", "Name a folder that `db dump` wrote."
            )
    stack.make_databases()
    for source in sources:
        _require_empty(stack, source)
    read = []
    for source in sources:
        file = folder / source.file_name
        options = ["--single-transaction", "--exit-on-error", "--no-owner"]
        if source.is_citys:
            _execute(source, sql_text("backup/roles"))
            options.append(f"--role={_OWNER}")
        else:
            options.append("--no-privileges")
        _run("pg_restore", stack, source, *options, str(file))
        _execute(source, "analyze")
        read.append(_kept(source, file))
    stack.let_roles_in()
    return read


def _kept(source: _Source, file: Path) -> Dump:
    return Dump(source.name, file, file.stat().st_size)


def _sources(stack: Stack) -> Iterator[_Source]:
    addresses = stack.addresses()
    urls = [(addresses.owner_url, "city.dump"), (addresses.dagster_url, "dagster.dump")]
    for url, file_name in urls:
        if url is not None:
            address, _ = libpq_address(url)
            name = conninfo_to_dict(address).get("dbname")
            yield _Source(str(name), file_name, url, file_name == "city.dump")


def _require_empty(stack: Stack, source: _Source) -> None:
    found = [str(row[0]) for row in _execute(source, _RELATIONS)]
    if not found:
        return
    some = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    if stack.postgres is not None:
        advice = f"Stop everything, move {stack.postgres.data} away (not what is beside it), and restore again."
    else:
        advice = (
            f"Stop the services that use it, then make it anew: dropdb {source.name} && createdb {source.name} "
            "(as its owner), and restore again."
        )
    raise BackupError(f"The database {source.name} is not empty; it holds {some}. Nothing was changed.", advice)


def _execute(source: _Source, statement: str) -> list[tuple[object, ...]]:
    """Run a statement as the database's owner; its rows, if it has any. Raises DatabaseUnavailableError."""
    address, environment = libpq_address(source.url)
    try:
        with psycopg.connect(address, password=environment.get("PGPASSWORD"), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []
    except psycopg.OperationalError as error:
        raise DatabaseUnavailableError(
            f"PostgreSQL does not let us into the database {source.name}: {str(error).strip().splitlines()[-1]}",
            "Is it running, is there such a database, and are LAMBDA_OWNER_DATABASE_URL and "
            "LAMBDA_DAGSTER_DATABASE_URL right?",
        ) from error


def _run(name: str, stack: Stack, source: _Source, *options: str) -> None:
    version = int(str(_execute(source, "select current_setting('server_version_num')")[0][0])) // 10_000
    program = client_program(name, is_embedded=stack.postgres is not None, least_version=version)
    address, environment = libpq_address(source.url)
    command = [program, f"--dbname={address}", "--no-password", *options]
    logger.debug("running %s on the database %s", name, source.name)
    done = subprocess.run(
        command, env={**environment, "LC_ALL": "C"}, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        said = done.stderr.strip()[-2000:]
        raise BackupError(
            f"{name} failed on the database {source.name}. It said:\n{said}\n",
            processes.advice(said, "Nothing of this database was changed; what it says is the reason."),
        )
