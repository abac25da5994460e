"""What is wrong, out of what `status` found, with what to do about it. Pure: a report in, problems out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_LATE_POLLS, _LATE_SECONDS = 3, 900.0  # without an observation: so many polls, but not sooner than this
_STANDSTILL_SECONDS = 60.0  # of the speed layer's offsets, while records wait
_WAITING_SECONDS = 2 * 3600.0  # of a closed hour, for its batch result
_DAGSTER_SECONDS, _PART_SECONDS = 150.0, 1800.0  # it signs every 30 s; one of its parts may be busy for long
_FEW = 3  # failures of an API that need not mean anything
_LEAST_FREE, _LEAST_SHARE, _ENOUGH_FREE = 1 << 30, 0.05, 5 << 30  # of a disk: bytes, of its size, and what will do
_SPOOL_SHARE = 0.5
_ACTIONS = {
    "key": "Is its key in .env right, and still valid?",
    "quota": "Its daily quota is used up; it is asked again after midnight UTC.",
    "rate_limited": "It is asked too often: raise LAMBDA_POLL_INTERVAL.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `about` is a word for programs, `action` what somebody should do.

    `is_unknown`: not that something is bad, but that nobody can tell.
    """

    about: str
    text: str
    action: str
    is_unknown: bool = False


def find_problems(report: Mapping[str, Any]) -> list[Problem]:
    """All that is wrong, what keeps somebody from knowing first. The report's keys are those of `status --json`."""
    found = [*_away(report["servers"])]
    if report["servers"]["postgresql"]["answers"]:
        found += [
            *_daemons(report), *_dagster(report), *_lag(report), *_freshness(report), *_days(report),
            *_sources(report), *_letters(report["dead_letters"]),
        ]  # fmt: skip
    found += _disks(report)
    return sorted(found, key=lambda problem: not problem.is_unknown)


def _away(servers: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    for name, server in servers.items():
        if not server["answers"]:
            yield Problem(f"{name}_away", server["error"], server["action"], is_unknown=True)


def _daemons(report: Mapping[str, Any]) -> Iterator[Problem]:
    for role in ("ingest", "speed"):
        known = [one for one in report["daemons"] if one["role"] == role]
        if any(one["state"] == "alive" for one in known):
            continue
        start = f"Start it: `lambda-pipeline up`, or `lambda-pipeline {role}` (in containers `docker compose up -d`)."
        newest = max(known, key=lambda one: str(one["seen_at"]), default=None)
        if newest is None:
            yield Problem(f"{role}_away", f"no {role} has given a sign of life within a day.", start)
        elif newest["state"] == "stopped":
            yield Problem(f"{role}_away", f"{role} was stopped at {newest['seen_at']}.", start)
        else:
            where = f"{newest['host']} (pid {newest['pid']})"
            yield Problem(
                f"{role}_away", f"{role} on {where} is silent since {newest['seen_at']}.", f"See its log. {start}"
            )


def _dagster(report: Mapping[str, Any]) -> Iterator[Problem]:
    parts = report["dagster"]
    if parts is None:  # its storage is not known here, or does not answer
        return
    if not parts or min(part["silent_seconds"] for part in parts) > _DAGSTER_SECONDS:
        yield Problem(
            "dagster_daemon_away",
            "Dagster's daemon gives no sign of life: no schedule and no sensor runs.",
            "Start it: `lambda-pipeline up` (in containers `docker compose up -d dagster-daemon`).",
        )
        return
    for part in parts:
        if part["error"]:
            yield Problem(
                "dagster_daemon_error",
                f"Dagster's {part['name']}: {part['error'].rstrip('.')}.",
                "See the daemon's log.",
            )


def _lag(report: Mapping[str, Any]) -> Iterator[Problem]:
    lag = report["lag"]
    if lag is None:
        return
    still = report["offsets_moved_seconds_ago"]
    if lag["speed_records"] and (still is None or still > _STANDSTILL_SECONDS):
        since = "never" if still is None else f"{span_text(still)} ago"
        yield Problem(
            "speed_stands_still",
            f"{lag['speed_records']} records wait for the speed layer, which moved on {since} for the last time.",
            "See the log of speed: it says what it waits for, or what stopped it.",
        )
    if lag["dropped"]:
        yield Problem(
            "log_gap",
            f"the log has dropped records that raw_data had not stored, from {', '.join(lag['dropped'])} on.",
            "The next run takes them out of realtime_data, or says what nobody holds: `lambda-pipeline backfill`.",
        )
    if lag["soon_dropped"]:
        yield Problem(
            "log_retention",
            f"records older than half of the log's {lag['retention_hours']:g} hours wait for raw_data: "
            f"{', '.join(lag['soon_dropped'])}.",
            "Materialize raw_data before they are gone: `lambda-pipeline backfill --from DAY --to DAY`.",
        )


def _freshness(report: Mapping[str, Any]) -> Iterator[Problem]:
    speed = next(layer for layer in report["layers"] if layer["layer"] == "speed")
    age, interval = speed["age_seconds"], report["poll_interval_seconds"] or 0
    if age is not None and age > max(_LATE_POLLS * interval, _LATE_SECONDS):
        yield Problem(
            "stale_data",
            f"the newest observation is {span_text(age)} old, of {speed['newest_observation']}.",
            "See what the APIs and daemons say below, and the logs of ingest and speed.",
        )


def _days(report: Mapping[str, Any]) -> Iterator[Problem]:
    for day in report["needs_attention"]:
        yield Problem(
            "failing_day",
            f"needs attention: {day['day']} is stale since {day['since']}, and {day['attempts']} runs did not help.",
            f"See what its checks found: in Dagster, the run with the tag dagster/run_key {day['run_key']}.",
        )
    failing = {day["day"] for day in report["needs_attention"]}
    waiting = [
        day for day in report["waiting_days"] if day["waiting_seconds"] > _WAITING_SECONDS and day["day"] not in failing
    ]
    if waiting:
        hours, first, last = sum(day["stale_hours"] for day in waiting), waiting[0]["day"], waiting[-1]["day"]
        days = first if first == last else f"{first} to {last}"
        yield Problem(
            "batch_behind",
            f"{hours} closed hours of {days} wait for the batch layer since {min(day['since'] for day in waiting)}.",
            "Does Dagster's daemon run, and do its runs succeed? `lambda-pipeline backfill` does the same by hand.",
        )


def _sources(report: Mapping[str, Any]) -> Iterator[Problem]:
    for daemon in report["daemons"]:
        if daemon["role"] != "ingest" or daemon["state"] != "alive":
            continue
        detail = daemon["detail"]
        for source, kinds in detail.get("last_hour", {}).items():
            errors = {kind: number for kind, number in kinds.items() if kind != "ok"}
            if source in ("poll", "missed") or sum(errors.values()) < _FEW or kinds.get("ok"):
                continue
            text = ", ".join(f"{number} {kind}" for kind, number in sorted(errors.items()))
            known = (action for kind, action in _ACTIONS.items() if kind in errors)
            action = next(known, "See the log of ingest; it is asked again by itself.")
            yield Problem("source_silent", f"{source} has given nothing in the last hour ({text}).", action)
        for source, quota in detail.get("quotas", {}).items():
            if quota["limit"] is not None and quota["used"] >= quota["limit"]:
                text = f"{source}: all {quota['limit']} requests of today (UTC) are used."
                yield Problem("quota_used", text, _ACTIONS["quota"])
        yield from _spool(detail)


def _spool(detail: Mapping[str, Any]) -> Iterator[Problem]:
    spool = detail.get("spool")
    if spool and spool["bytes"] >= _SPOOL_SHARE * spool["max_bytes"]:
        filled = f"{size_text(spool['bytes'])} of {size_text(spool['max_bytes'])}"
        yield Problem(
            "spool_filling",
            f"{spool['records']} observations wait for Kafka, {filled}.",
            "When the spool is full, polling pauses. Is Kafka there? Else raise LAMBDA_SPOOL_MAX_MB.",
        )
    if detail.get("refused"):
        yield Problem(
            "refused_by_kafka",
            f"Kafka refused {detail['refused']} observations for themselves since ingest started.",
            "See docs/stream.md, 'What Kafka refuses'.",
        )


def _letters(letters: Mapping[str, int]) -> Iterator[Problem]:
    if letters["open_of_last_24_hours"]:
        yield Problem(
            "dead_letters",
            f"{letters['open_of_last_24_hours']} messages of the last 24 hours could not be read.",
            "Look at them: `lambda-pipeline dead-letters list`.",
        )


def _disks(report: Mapping[str, Any]) -> Iterator[Problem]:
    disks: list[tuple[str, Mapping[str, Any] | None]] = [("this machine", report["disk"])]
    disks += [(one["host"], one["detail"].get("disk")) for one in report.get("daemons", ()) if one["state"] == "alive"]
    seen = set()
    for host, disk in disks:
        if disk is None or (disk["total_bytes"], disk["folder"]) in seen:  # one disk is one problem
            continue
        seen.add((disk["total_bytes"], disk["folder"]))
        if disk["free_bytes"] < max(_LEAST_FREE, min(_LEAST_SHARE * disk["total_bytes"], _ENOUGH_FREE)):
            free = f"{size_text(disk['free_bytes'])} of {size_text(disk['total_bytes'])}"
            text = f"only {free} are free at {disk['folder']} on {host}."
            yield Problem("disk_full", text, "Make room: PostgreSQL, Kafka and the spool stop when it is full.")


def span_text(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def size_text(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
