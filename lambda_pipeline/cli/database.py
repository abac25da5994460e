"""`lambda-pipeline db`: the database itself."""

import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lambda_pipeline.cli import common
from lambda_pipeline.cli.takeover import describe_takeover
from lambda_pipeline.errors import SettingsError

if TYPE_CHECKING:
    from lambda_pipeline.local.backup import Dump

app = typer.Typer(no_args_is_help=True, help="Upgrade the database, back it up and restore it, or open it with psql.")


@app.command()
def upgrade(
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Do it all in a transaction that is then undone, and say what would happen."
    ),
    logins: bool = typer.Option(
        False,
        "--logins",
        help="Then let lambda_writer, lambda_reader and Dagster's user log in with the passwords of DATABASE_URL, "
        "LAMBDA_READER_DATABASE_URL and LAMBDA_DAGSTER_DATABASE_URL, and make Dagster's database. Needs a superuser "
        "in LAMBDA_OWNER_DATABASE_URL.",
    ),
) -> None:
    """Bring the database to this version's schema, in one transaction. Running it again changes nothing.

    A database of the first system (master or v2) is taken over: its tables move to the schema legacy, and every row
    becomes an observation, or is kept in raw_data_duplicates or raw_data_rejects with the reason. If it fails, the
    database is as it was. A dry run takes as long, and locks the old tables meanwhile.
    """
    settings = common.start()
    from rich.console import Console
    from rich.progress import Progress

    from lambda_pipeline.local.home import Home
    from lambda_pipeline.local.stack import Stack, running_stack

    if logins and settings.database_url is None:
        raise SettingsError("the embedded PostgreSQL has no passwords.", "Set DATABASE_URL, or leave out --logins.")
    if dry_run and not Stack(settings, Home(settings.home), kafka=False).has_database():
        typer.echo("There is no database yet: it would be made. This was a dry run: nothing was changed.")
        return
    with running_stack(settings, "db upgrade", kafka=False, prepared=False) as stack:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("upgrading", total=1.0)
            done = stack.upgrade(
                lambda what, share: progress.update(task, description=what, completed=share), dry_run=dry_run
            )
        users = stack.give_logins() if logins and not dry_run else []
        if not dry_run:
            stack.prepare()
    before = done.before or ("an empty database" if done.taken is None else "the first system's")
    if done.before == done.after:
        typer.echo(f"The schema is up to date: {done.after}.")
    else:
        typer.echo(f"The schema {'would be' if dry_run else 'is'} now {done.after} (before: {before}).")
    if users:
        typer.echo(f"May log in: {', '.join(users)}.")
    if done.taken is not None:
        for line in describe_takeover(done.taken, settings.history_start):
            typer.echo(line)
    if dry_run:
        typer.echo("This was a dry run: nothing was changed.")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    context: typer.Context,
    write: bool = typer.Option(False, "--write", help="Connect as the daemons' user instead of the reader."),
) -> None:
    """Open the database with psql, as the reader; what follows `--` goes to psql, e.g. -- -c 'table hourly_profile'."""
    settings = common.start()
    from lambda_pipeline.local.programs import client_program, libpq_address
    from lambda_pipeline.local.stack import running_stack

    with running_stack(settings, "db psql", kafka=False) as stack:
        addresses = stack.addresses()
        address, environment = libpq_address(addresses.writer_url if write else addresses.reader_url)
        before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is psql's, to cancel a query
        try:
            command = [client_program("psql", is_embedded=stack.postgres is not None), address, *context.args]
            code = subprocess.run(command, env=environment, check=False).returncode
        finally:
            signal.signal(signal.SIGINT, before)
    sys.exit(code)


@app.command()
def dump(
    folder: Path = typer.Argument(..., help="A new folder for the backup, e.g. backups/2025-03-01."),
) -> None:
    """Back up the city's database and Dagster's, each as one snapshot, while everything runs.

    The files are pg_dump's (custom format). What has not reached the database yet is in Kafka's log and in ingest's
    spool, and needs no backup of its own: after a restore it is read from there.
    """
    settings = common.start()
    from lambda_pipeline.local.backup import dump as write
    from lambda_pipeline.local.stack import running_stack

    with running_stack(settings, "db dump", kafka=False, prepared=False) as stack:
        _list("dumped to", write(stack, folder))


@app.command()
def restore(folder: Path = typer.Argument(..., help="A folder that `db dump` wrote.")) -> None:
    """Bring a backup back, on this server or a new one. A database that is not empty is refused, never overwritten.

    Stop what writes first. Makes the roles where they are missing, so the user of LAMBDA_OWNER_DATABASE_URL must be a
    superuser or may make roles. What came after the backup is read from Kafka's log when the daemons start again.
    """
    settings = common.start()
    from lambda_pipeline.local.backup import restore as read
    from lambda_pipeline.local.stack import running_stack

    with running_stack(settings, "db restore", kafka=False, prepared=False) as stack:
        _list("restored from", read(stack, folder))
        upgrade_first = "" if stack.postgres is not None else "`lambda-pipeline db upgrade` (with --logins), then "
    typer.echo(f"Next: {upgrade_first}start everything again; what came after the backup is read from Kafka's log.")


def _list(what: str, dumps: "Iterable[Dump]") -> None:
    for one in dumps:
        typer.echo(f"The database {one.database} was {what} {one.file} ({one.bytes / 2**20:.1f} MiB).")
