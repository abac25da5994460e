"""The command line: `lambda-pipeline`.

Commands import what they need when they run, so that `--help` answers at once.
"""

import sys

import typer

from lambda_pipeline import __version__
from lambda_pipeline.cli import common, data, database, dead_letters, run, services
from lambda_pipeline.errors import LambdaPipelineError

app = typer.Typer(
    name="lambda-pipeline",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    help="Traffic and air of a city, live and over the months: one exact answer from a speed and a batch layer.\n\n"
    "Start with [bold]lambda-pipeline demo[/bold]: it needs no keys. Settings come from the environment and .env "
    "(see .env.example). Days and times without an offset mean the city's time; ranges include their start, not "
    "their end.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lambda-pipeline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Options of every command."""


run.register(app)
services.register(app)
data.register(app)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(database.app, name="db")


def main() -> None:
    """Run a command: exit code 0, 1 where it failed, 2 where it was called wrongly; no traceback for a user's error."""
    try:
        app(prog_name="lambda-pipeline")
    except LambdaPipelineError as error:
        common.say_error(error.message, error.next_action)
        sys.exit(1)
    except BrokenPipeError:  # whoever read our output, e.g. head, has seen enough
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        reason = common.database_refusal(error)
        if reason is None:
            raise
        advice = "Does DATABASE_URL name the right database and user, and is there room on its disk?"
        common.say_error(f"PostgreSQL refused: {reason}", advice)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
