"""`lambda-pipeline db`: the database itself."""

import os
import signal
import subprocess
import sys

import typer

from lambda_pipeline.cli import common

app = typer.Typer(no_args_is_help=True, help="Upgrade the database, or open it with psql.")


@app.command()
def upgrade() -> None:
    """Bring the database to this version's schema, in one transaction. Running it again changes nothing."""
    settings = common.start()
    from lambda_pipeline.local.home import Home
    from lambda_pipeline.local.stack import Stack, running_stack

    if settings.database_url is None:
        with running_stack(settings, "db upgrade", kafka=False) as stack:
            done = stack.upgrade()
    else:
        stack = Stack(settings, Home(settings.home), kafka=False)
        done = stack.upgrade()
        stack.prepare()
    if done.before == done.after:
        typer.echo(f"The schema is up to date: {done.after}.")
    else:
        typer.echo(f"The schema is now {done.after} (before: {done.before or 'an empty database'}).")


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
