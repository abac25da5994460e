"""What operators and analysts ask for: `backfill`, `import`, `export`, `status`."""

import sys
from pathlib import Path
from typing import Any

import typer

from lambda_pipeline.cli import common
from lambda_pipeline.cli.backfill import backfill
from lambda_pipeline.cli.status import status
from lambda_pipeline.errors import SettingsError
from lambda_pipeline.serving.choices import Format, What


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(backfill)
    app.command("import")(import_)
    app.command()(export)
    app.command()(status)


def import_(
    file: Path = typer.Argument(..., metavar="FILE", help="CSV, gzipped CSV or Parquet."),
    add_locations: bool = typer.Option(
        False, "--add-locations", help="Register locations that the city does not know."
    ),
) -> None:
    """Import observations from a file; the same file twice changes nothing.

    Columns: timestamp, location, and any of latitude, longitude, aqi_value, traffic_level, current_speed,
    free_flow_speed, road_closure. Bad lines go to FILE.rejects.csv with their number and the reason; the rest is
    imported. Publish the days afterwards: `lambda-pipeline backfill --from … --to …`.
    """
    settings = common.start()
    from rich.console import Console
    from rich.progress import Progress

    from lambda_pipeline.batch.file_import import import_file
    from lambda_pipeline.local.stack import running_stack
    from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine

    with running_stack(settings, "import", kafka=False) as stack:
        engine = make_engine(stack.addresses().writer_url, "import", BATCH_TIMEOUTS)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(f"importing {file.name}", total=None)
            report = import_file(
                engine,
                file,
                add_locations=add_locations,
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        engine.dispose()
    typer.echo(
        f"{report.rows} rows read: {report.stored} new, {report.known_before} known, {report.rejected} rejected."
    )
    if report.added_locations:
        typer.echo(f"{report.added_locations} locations registered.")
    for reason in report.reasons:
        typer.secho(reason, fg="yellow", err=True)
    if report.reject_file is not None:
        typer.secho(f"All {report.rejected} rejected lines are in {report.reject_file}.", fg="yellow", err=True)
    if report.first is not None and report.last is not None:
        days = common.covering_days(report.first, report.last, settings.city.clock())
        last = settings.city.clock().city_date(report.last)
        typer.echo(f"They reach from {days[0]} to {last}. Publish them: "
                   f"lambda-pipeline backfill --from {days[0]} --to {common.day_after(last)}")  # fmt: skip


def export(
    what: What = typer.Argument(..., help="What to export."),
    first: str | None = typer.Option(None, "--from", metavar="TIME", help="Start (a day or a time, in city time)."),
    until: str | None = typer.Option(None, "--to", metavar="TIME", help="End, not included."),
    form: Format = typer.Option(Format.CSV, "--format", help="How to write it."),
    output: Path | None = typer.Option(None, "--output", "-o", help="File to write; standard output if not given."),
) -> None:
    """Write what is served, out of both layers and one snapshot: conditions now, hours, days, peaks, observations."""
    settings = common.start()
    clock = settings.city.clock()
    if what is not What.CONDITIONS and (first is None or until is None):
        raise typer.BadParameter("give both --from and --to.", param_hint="--from/--to")
    start = common.parse_instant(first, clock, "--from") if first else common.utc_now()
    end = common.parse_instant(until, clock, "--to") if until else common.utc_now()
    if what is not What.CONDITIONS and start >= end:
        raise typer.BadParameter(f"{until} is not after {first}; the range ends before --to.", param_hint="--to")
    if output is not None and not output.name:
        raise typer.BadParameter(f"{str(output)!r} is no file; name one.", param_hint="--output")
    if form is Format.PARQUET and output is None and sys.stdout.isatty():
        raise typer.BadParameter("Parquet is not for a terminal; name a file.", param_hint="--output")
    from lambda_pipeline.local.stack import running_stack
    from lambda_pipeline.serving.export import export as export_to
    from lambda_pipeline.serving.layer import ServingLayer
    from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine

    with running_stack(settings, "export", kafka=False) as stack:
        engine = make_engine(stack.addresses().reader_url, "export", BATCH_TIMEOUTS)
        serving = ServingLayer(engine, settings.archive)
        arguments = (what, start, end, form)
        if output is None:
            rows = export_to(serving, *arguments, sys.stdout.buffer)
        else:
            rows = _to_file(output, lambda out: export_to(serving, *arguments, out))
        engine.dispose()
    typer.echo(f"{rows} rows" + (f" in {output}" if output else ""), err=True)


def _to_file(path: Path, write: Any) -> int:
    """Write a file that is whole or not there. What is no file (/dev/null, a pipe) is written to and not replaced."""
    try:
        partial = path if path.exists() and not path.is_file() else path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as out:
                rows: int = write(out)
            if partial != path:
                partial.replace(path)
        finally:
            if partial != path:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}.") from error
    return rows
