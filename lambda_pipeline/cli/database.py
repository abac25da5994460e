"""`lambda-pipeline db`: the database itself."""

import os
import signal
import subprocess
import sys

import typer

from lambda_pipeline.cli import common
from lambda_pipeline.cli.takeover import describe_takeover
from lambda_pipeline.errors import SettingsError

app = typer.Typer(no_args_is_help=True, help="Upgrade the database, or open it with psql.")


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
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    from lambda_pipeline.local.stack import psql_program, running_stack

    with running_stack(settings, "db psql", kafka=False) as stack:
        addresses = stack.addresses()
        url = addresses.writer_url if write else addresses.reader_url
        parts = conninfo_to_dict(f"postgresql://{url.partition('://')[2]}")
        password = parts.pop("password", None)  # by environment: the list of processes shows arguments to everybody
        environment = os.environ | ({"PGPASSWORD": str(password)} if password else {})
        before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is psql's, to cancel a query
        try:
            command = [psql_program(stack), make_conninfo("", **parts), *context.args]
            code = subprocess.run(command, env=environment, check=False).returncode
        finally:
            signal.signal(signal.SIGINT, before)
    sys.exit(code)
