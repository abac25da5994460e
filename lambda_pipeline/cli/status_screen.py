"""How `status` shows its report to a person."""

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from lambda_pipeline.serving.health import size_text, span_text

_WIDTH = 14


def show(report: Mapping[str, Any]) -> None:
    """Print it: first what is wrong."""
    for problem in report["problems"]:
        typer.secho(f"! {problem['text']}", fg="red")
        typer.echo(f"  {problem['action']}")
    if not report["problems"]:
        typer.secho("All is well.", fg="green")
    running = report["running"] or "nothing"
    typer.echo(f"\n{report['city']} ({report['timezone']}); version {report['version']}; running here: {running}")
    for name, text in _lines(report):
        typer.echo(f"  {name:<{_WIDTH}}{text}")


def _lines(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, server in report["servers"].items():
        if not server["answers"]:
            yield name, "does not answer"
    yield from _daemons(report)
    lag = report["lag"]
    if lag is not None:
        text = f"{lag['speed_records']} records wait for the speed layer, {lag['batch_records']} for raw_data"
        yield "log", text
    for layer in report["layers"]:
        newest = layer["newest_observation"] or "nothing yet"
        age = "" if layer["age_seconds"] is None else f" ({span_text(layer['age_seconds'])} ago)"
        yield layer["layer"], f"newest {newest}{age}, {layer['observations']} observations, {layer['hours']} hours"
    if report["database"] is None:
        yield from _disk(report)
        return
    waiting = sum(day["stale_hours"] for day in report["waiting_days"])
    coverage = f"{report['published_hours']} hours published, {report['stale_hours']} stale"
    yield "batch results", f"{coverage}, {waiting} of them over for a quarter of an hour"
    letters = report["dead_letters"]
    still_open = f"{letters['open']} open, {letters['open_of_last_24_hours']} of the last 24 hours"
    yield "dead letters", f"{still_open}; {letters['retried']} sent again"
    yield from _ingest(report)
    database = report["database"]
    yield "database", f"{size_text(database['bytes'])}, schema {database['schema_version']}"
    yield from _disk(report)


def _daemons(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in report["daemons"]:
        where = f"{one['host']}, pid {one['pid']}, version {one['version']}"
        when = f"since {one['started_at']}" if one["state"] == "alive" else f"last seen {one['seen_at']}"
        yield one["role"], f"{one['state']} {when} ({where})"
    parts = report["dagster"]
    if parts:
        yield "dagster", f"its daemon was last seen {span_text(min(part['silent_seconds'] for part in parts))} ago"


def _ingest(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in report["daemons"]:
        if one["role"] != "ingest" or one["state"] != "alive":
            continue
        detail = one["detail"]
        for source, kinds in detail.get("last_hour", {}).items():
            if source in ("poll", "missed"):
                continue
            quota = detail.get("quotas", {}).get(source, {})
            limit = "" if quota.get("limit") is None else f" of {quota['limit']}"
            today = f"{quota['used']}{limit} requests today; " if quota else ""
            errors = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()) if kind != "ok")
            yield source, f"{today}in the last hour {kinds.get('ok', 0)} answers, errors: {errors or 'none'}"
        spool = detail.get("spool")
        if spool and spool["records"]:
            yield "spool", f"{spool['records']} observations wait for Kafka ({size_text(spool['bytes'])})"


def _disk(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    disk = report["disk"]
    if disk is not None:
        yield "disk", f"{size_text(disk['free_bytes'])} of {size_text(disk['total_bytes'])} free at {disk['folder']}"
