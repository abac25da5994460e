"""`lambda-pipeline db`: the database itself."""

import os
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
    from lambda_pipeline.local.stack import psql_program, running_stack

    program = psql_program()
    with running_stack(settings, "db psql", kafka=False) as stack:
        addresses = stack.addresses()
        url = addresses.writer_url if write else addresses.reader_url
        # the address goes by environment, so that a password does not show in the list of processes
        from psycopg.conninfo import conninfo_to_dict

        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
        parts = conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://", 1))
        environment = {names[name]: str(value) for name, value in parts.items() if name in names and value is not None}
        code = subprocess.run([program, *context.args], env=os.environ | environment, check=False).returncode
    sys.exit(code)
