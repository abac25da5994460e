"""`lambda-pipeline backfill`: recompute days, with a progress bar and an honest summary."""

import os
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from lambda_pipeline.cli import common
from lambda_pipeline.errors import SettingsError

if TYPE_CHECKING:
    from rich.progress import Progress

    from lambda_pipeline.automation.backfill import BackfillReport
    from lambda_pipeline.batch.survey import Survey
    from lambda_pipeline.local.stack import Stack
    from lambda_pipeline.settings import Settings


class Asset(StrEnum):
    """What can be recomputed by itself."""

    RAW_DATA = "raw_data"
    HOURLY_AGGREGATIONS = "hourly_aggregations"
    DAILY_AGGREGATIONS = "daily_aggregations"
    PEAK_HOURS_ANALYSIS = "peak_hours_analysis"
    PEAK_HOURS = "peak_hours"
    RAW_ARCHIVE = "raw_archive"


BATCH_LAYER = [one for one in Asset if one is not Asset.RAW_ARCHIVE]
_UNITS = {"raw_data": "records", "hourly_aggregations": "hours", "raw_archive": "days"}


def backfill(
    first: str = common.FROM,
    until: str = common.TO,
    asset: list[Asset] = typer.Option(BATCH_LAYER, help="Only this one; may be repeated."),
    everything: bool = typer.Option(
        False, "--all", help="Publish also the hours, and archive the days, that are up to date."
    ),
    accept_loss: bool = typer.Option(
        False, "--accept-loss", help="Note records that left the log unread in log_gaps, and go on."
    ),
    closed_only: bool = typer.Option(
        False, "--closed-only", help="Leave the hour that is not over yet to the speed layer."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be done, and change nothing."),
) -> None:
    """Recompute days from all the history: store what is new, publish stale hours, compute the days' tables.

    The run shows in Dagster's UI like any other. Running it again gives the same result.
    """
    settings = common.start()
    days = _days(settings, first, until)
    if Asset.RAW_ARCHIVE in asset and settings.archive_place is None:
        raise SettingsError(
            "no archive is configured: LAMBDA_ARCHIVE_URL is not set.", "Name a folder, or s3://bucket/prefix."
        )
    from lambda_pipeline.local.stack import running_stack

    with running_stack(settings, "backfill") as stack:
        if dry_run:
            found = _survey(settings, stack, days, asset, everything=everything, closed_only=closed_only)
            _show_survey(found, days, asset)
            return
        addresses = stack.addresses()
        if addresses.dagster_url is None:
            raise SettingsError(
                "LAMBDA_DAGSTER_DATABASE_URL is not set.", "Write postgresql+psycopg2://user:password@host/dagster."
            )
        from rich.console import Console
        from rich.progress import Progress

        from lambda_pipeline.automation.backfill import run_backfill
        from lambda_pipeline.local.dagster_home import prepare_dagster_home

        os.environ.update(addresses.environment())
        os.environ.update(prepare_dagster_home(stack.home.path / "dagster", addresses.dagster_url))
        with Progress(console=Console(stderr=True), transient=True) as progress:
            report = run_backfill(
                settings.city, settings.history_start, *days,
                assets=[one.value for one in asset], everything=everything, accept_loss=accept_loss,
                closed_only=closed_only, progress=_Bars(progress),
            )  # fmt: skip
    _show(report, days)


def _days(settings: "Settings", first: str, until: str) -> tuple[date, date]:
    """The days to recompute, up to the current one."""
    days = common.parse_days(first, until)
    if days[0] < settings.history_start:
        raise SettingsError(
            f"{days[0]} is before LAMBDA_HISTORY_START ({settings.history_start}).",
            "Start at that day, or lower the setting.",
        )
    tomorrow = common.day_after(settings.city.clock().city_date(common.utc_now()))
    if days[0] >= tomorrow:
        raise typer.BadParameter(f"{days[0]} has not begun yet.", param_hint="--from")
    return days[0], min(days[1], tomorrow)


class _Bars:
    """A progress bar for each step that reports."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._tasks: dict[str, object] = {}

    def report(self, step: str, done: int, total: int) -> None:
        """Move the step's bar."""
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(f"{step} ({_UNITS.get(step, 'rows')})")
        self._progress.update(self._tasks[step], completed=done, total=total)  # type: ignore[arg-type]


def _survey(
    settings: "Settings",
    stack: "Stack",
    days: tuple[date, date],
    assets: list[Asset],
    *,
    everything: bool,
    closed_only: bool,
) -> "Survey":
    from lambda_pipeline.batch.survey import survey
    from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine

    addresses = stack.addresses()
    engine = make_engine(addresses.writer_url, "backfill", BATCH_TIMEOUTS)
    try:
        return survey(
            engine, addresses.connection(), settings.kafka_topic, *days,
            stores=Asset.RAW_DATA in assets, publishes=Asset.HOURLY_AGGREGATIONS in assets,
            archives=Asset.RAW_ARCHIVE in assets, everything=everything, closed_only=closed_only,
        )  # fmt: skip
    finally:
        engine.dispose()


def _show_survey(found: "Survey", days: tuple[date, date], assets: list[Asset]) -> None:
    typer.echo(f"{_range(days)}, if it ran now (nothing was changed):")
    for asset in filter(assets.__contains__, Asset):
        match asset:
            case Asset.RAW_DATA:
                would = f"would read {_count(found.unread_records, 'new record')}, of whichever days"
            case Asset.HOURLY_AGGREGATIONS:
                hours, rows = _count(found.stale_hours, "hour"), _count(found.stale_rows, "stored raw row")
                later = ", and those that new records lie in" if Asset.RAW_DATA in assets else ""
                held = f"the speed layer holds something of {_count(found.speed_hours, 'hour')}"
                would = f"would publish {hours} of {rows}{later};\n{'':<22} {held}"
            case Asset.RAW_ARCHIVE:
                would = f"would archive {_count(found.archive_days, 'day')} of {_count(found.archive_rows, 'raw row')}"
            case _:
                would = f"would be computed for {_count((days[1] - days[0]).days, 'day')}"
        typer.echo(f"  {asset:<20} {would}")


def _show(report: "BackfillReport", days: tuple[date, date]) -> None:
    typer.echo(f"{_range(days)}, in {report.seconds:.1f} s (run {report.run_id[:8]}):")
    for name in filter(report.assets.__contains__, Asset):
        found = report.assets[name]
        partitions = f"{report.partitions[name]:>5} partitions {found['window_rows']:>12} rows"
        typer.echo(f"  {name:<20}{partitions}{_changes(name, found)}")
    for check in report.failed_checks:
        typer.secho(f"  {check.asset}: {check.name}: {check.text}", fg="red" if check.is_error else "yellow", err=True)


def _changes(name: str, found: dict[str, Any]) -> str:
    """What it stored, published or wrote, in words."""
    if name == "raw_data":
        dead = f", {_count(found['dead_letters'], 'dead letter')}" if found["dead_letters"] else ""
        return f"   {found['records_stored']} new, of {_count(found['records_read'], 'new record')}{dead}"
    if name == "hourly_aggregations":
        again = f" ({found['hours_again']} of them again)" if found["hours_again"] else ""
        return (
            f"   {_count(found['hours_published'], 'hour')} published{again}, of "
            f"{_count(found['raw_rows'], 'raw row')}, {found['moved_from_speed']} left the speed layer"
        )
    if name == "raw_archive":
        return f"   {_count(found['days_written'], 'day')} written, {found['bytes_written'] / 1e6:.1f} MB"
    return f"   {found['rows_written']} written"


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _range(days: tuple[date, date]) -> str:
    return f"{_count((days[1] - days[0]).days, 'day')} from {days[0]} up to before {days[1]}"
