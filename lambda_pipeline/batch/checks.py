"""Asset checks: what must hold of the batch layer's results, asked of the database after each run.

What would make a publish wrong blocks it (raw_data's); what would make a day's tables wrong blocks those. Each asks one
question of sql/checks/, about the days of the run that it belongs to, or about all history where it is run by itself.
What reads raw_data looks, in a run that asks for it, only at the hours of those days that the run could have changed.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import sqlalchemy as sa

from lambda_pipeline.batch.catch_up import CLOSED_FOR
from lambda_pipeline.batch.partitions import Days, days_of_tags, describe_days
from lambda_pipeline.batch.retention import check_retention
from lambda_pipeline.domain.city_time import HOUR, CityClock
from lambda_pipeline.resources import DatabaseResource, LogResource
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql, sql_text

CHECKS_TAG = "lambda_pipeline/checks"
CHANGED_ONLY = {CHECKS_TAG: "changed"}
"""Tags of a run that comes again and again for the same day, which another run looks at whole when it is over."""
COMPLETE_FROM = 0.9
"""Share of the expected polls from which on a window counts as complete."""
_NEVER = datetime.fromtimestamp(0, UTC)
_Verdict = tuple[bool, str]  # whether it passed, and what to say


@dataclass(frozen=True, slots=True)
class _Check:
    """A question of sql/checks/NAME.sql and how its one row is judged."""

    name: str
    asset: str
    description: str
    judge: Callable[[Any], _Verdict]
    blocking: bool = False
    joins_all: bool = True  # all rows of the window, which may just have been stored and have no statistics
    reads_raw: bool = False  # row by row, and each hour for itself
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


def _judge_keys(row: Any) -> _Verdict:
    if row.without_key or row.nullable:
        return False, f"{row.without_key} parts of raw_data without their key, {row.nullable} columns that may be null."
    return True, f"{row.months} months, each with the key (location, timestamp)."


def _judge_values(row: Any) -> _Verdict:
    if row.broken:
        return False, f"{row.broken} rows break a rule, first {row.first}."
    return True, "All values are in their ranges."


def _judge_counts(row: Any) -> _Verdict:
    if row.differing:
        return False, f"{row.differing} of {row.hours} hours differ, first {row.first}."
    return True, f"{row.hours} hours rest on exactly their {row.raw_rows} raw rows."


def _judge_parity(row: Any) -> _Verdict:
    if row.differing or row.drift:
        return False, (
            f"The speed layer had other values at {row.differing} of {row.compared} positions, and served other sums "
            f"at {row.drift} locations and hours than it held; first in the hour {row.first}."
        )
    return True, f"{row.compared} positions compared in {row.hours} hours ({row.duplicates} duplicates): no difference."


def _judge_union(row: Any) -> _Verdict:
    if row.covered or row.in_both or row.drifted:
        return False, (
            f"Of {row.rows} observations in the speed layer {row.covered} are covered by a result and {row.in_both} "
            f"are in both layers; at {row.drifted} locations and hours realtime_hourly is not their sum."
        )
    return True, f"None of {row.rows} observations in the speed layer is covered, each is in one layer."


def _judge_completeness(row: Any) -> _Verdict:
    if not row.expected:
        return True, "Nothing was expected."
    share = row.observed / row.expected
    text = f"{share:.1%} of {row.expected} expected observations."
    return share >= COMPLETE_FROM, text + (f" Least: {row.worst}." if row.worst else "")


def _judge_gaps(row: Any) -> _Verdict:
    if row.hours or row.records_lost:
        first = f", first {row.first}" if row.hours else ""
        return False, f"{row.hours} hours without any observation{first}; {row.records_lost} records lost by the log."
    return True, "No hour without an observation, no record lost by the log."


def _judge_rows(row: Any) -> _Verdict:
    if row.differing:
        return False, f"{row.differing} rows differ from their hours, first {row.first}."
    return True, f"{row.rows} rows agree with their hours."


_CHECKS = (
    _Check("raw_keys", "raw_data", "Keys are unique and what a position or an hour rests on is never null.",
           _judge_keys, blocking=True),
    _Check("raw_values", "raw_data", "Measures are in their ranges, locations are known, and each row lies in the hour "
           "and the day that it is published with.", _judge_values, blocking=True, reads_raw=True),
    _Check("hourly_counts", "hourly_aggregations", "Each published hour counts exactly the raw rows that it covers.",
           _judge_counts, blocking=True, reads_raw=True),
    _Check("hourly_values", "hourly_aggregations", "Extremes are in their ranges, sums within what they allow.",
           _judge_values, blocking=True),
    _Check("layer_parity", "hourly_aggregations", "What the speed layer held below the published positions is what "
           "batch says of the same positions. Measured inside each publish.", _judge_parity),
    _Check("union", "hourly_aggregations", "Nothing of the speed layer is covered by a result, no observation is in "
           "both layers. In one snapshot.", _judge_union, joins_all=False),
    _Check("completeness", "hourly_aggregations", f"At least {COMPLETE_FROM:.0%} of the expected polls are there, "
           "also of locations that were silent all day.",
           _judge_completeness, severity=dg.AssetCheckSeverity.WARN),
    _Check("gaps", "hourly_aggregations", "No closed hour without any observation, and no record that left the log "
           "unread.",
           _judge_gaps, severity=dg.AssetCheckSeverity.WARN),
    _Check("daily_counts", "daily_aggregations", "Each day counts exactly the observations of its hours.", _judge_rows),
    _Check("analysis_counts", "peak_hours_analysis", "Each row is that of its published hour.", _judge_rows),
    _Check("peak_days", "peak_hours", "The worst hours are the highest averages of their day.", _judge_rows),
)  # fmt: skip
RETENTION_CHECK = "kafka_retention"


def build_checks(timezone: str, history_start: date) -> Sequence[dg.AssetChecksDefinition]:
    """All checks of a city: those of an asset are one step of a run, and can be executed one by one in the UI."""
    clock = CityClock(timezone)
    assets = dict.fromkeys(one.asset for one in _CHECKS)
    return [*(_checks_of(asset, clock, history_start) for asset in assets), _kafka_retention()]


def _checks_of(asset: str, clock: CityClock, history_start: date) -> dg.AssetChecksDefinition:
    checks = {one.name: one for one in _CHECKS if one.asset == asset}
    specs = [
        dg.AssetCheckSpec(one.name, asset=asset, description=one.description, blocking=one.blocking)
        for one in checks.values()
    ]

    @dg.multi_asset_check(name=f"{asset}_checks", specs=specs, can_subset=True)
    def look_at(context: dg.AssetCheckExecutionContext, database: DatabaseResource) -> Iterator[dg.AssetCheckResult]:
        now = datetime.now(UTC)
        tomorrow = clock.city_date(now) + timedelta(days=1)
        days = days_of_tags(context.run.tags) or (history_start, tomorrow)
        changed_by = context.run.run_id if context.run.tags.get(CHECKS_TAG) == CHANGED_ONLY[CHECKS_TAG] else None
        engine = database.engine()
        try:
            for key in sorted(context.selected_asset_check_keys, key=lambda key: list(checks).index(key.name)):
                found = look(engine, key.name, clock, days, now, changed_by)
                yield dg.AssetCheckResult(
                    asset_key=asset,
                    check_name=key.name,
                    passed=found.passed,
                    severity=checks[key.name].severity,
                    description=found.text,
                    metadata={
                        **found.figures,
                        "window": describe_days(days),
                        **({} if found.hours is None else {"changed_hours": found.hours}),
                    },
                )
        finally:
            engine.dispose()

    return look_at


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: whether it passed, that in words, and in figures.

    `hours` is how many hours of its days it looked at, where those were only the ones that a run could have changed.
    """

    passed: bool
    text: str
    figures: dict[str, int]
    hours: int | None = None


def look(
    engine: sa.Engine, name: str, clock: CityClock, days: Days, now: datetime, changed_by: str | None = None
) -> Finding:
    """What the check of this name finds at `now` about the city days [first, until), in one snapshot.

    With `changed_by`, a run's id, a check that reads raw_data looks only at the hours of the days that this run has
    published or could publish. A row is never changed once it is stored, so the other hours are as they were when they
    were published. It looks at the days whole where raw_hours counts other rows in those hours than raw_data holds.
    """
    (check,) = (one for one in _CHECKS if one.name == name)
    first, until = days
    values = {
        "first": first,
        "until": until,
        "start_at": clock.day_start(first),
        "end_at": clock.day_start(until),
        "closed_at": now - CLOSED_FOR,
        "timezone": clock.timezone,
        "least": COMPLETE_FROM,
    }
    with transaction(engine, "REPEATABLE READ", read_only=True) as connection:
        hours = _changed_hours(connection, days, changed_by) if check.reads_raw and changed_by is not None else None
        if check.joins_all:
            run_script(connection, sql_text("batch/plan_by_hash"))
        question = sql(f"checks/{name}")
        spans: list[dict[str, datetime]] = [{}] if hours is None else _spans(hours)
        row = _as_one([connection.execute(question, values | span).one() for span in spans])
    passed, text = check.judge(row)
    figures = {key: value for key, value in vars(row).items() if isinstance(value, int)}
    return Finding(passed, text, figures, None if hours is None else len(hours))


def _changed_hours(connection: sa.Connection, days: Days, run_id: str) -> list[datetime] | None:
    """The hours of the days that a run has published or could publish, in order; None if all have to be looked at."""
    values = {"first": days[0], "until": days[1], "run_id": run_id}
    rows = connection.execute(sql("checks/changed_hours"), values).all()
    return None if any(row.counted != row.found for row in rows) else [row.hour_start for row in rows]


def _spans(hours: Sequence[datetime]) -> list[dict[str, datetime]]:
    """Neighbouring hours together, as what `start_at` and `end_at` are; an empty span if there are none."""
    spans: list[dict[str, datetime]] = []
    for hour in hours:
        if spans and spans[-1]["end_at"] == hour:
            spans[-1]["end_at"] = hour + HOUR
        else:
            spans.append({"start_at": hour, "end_at": hour + HOUR})
    return spans or [{"start_at": _NEVER, "end_at": _NEVER}]


def _as_one(rows: Sequence[Any]) -> SimpleNamespace:
    """One answer out of those about several spans: counts are added, of the rest the first that says something."""
    answers = [row._mapping for row in rows]
    merged: dict[str, Any] = {}
    for name in answers[0]:
        said = [answer[name] for answer in answers if answer[name] is not None]
        merged[name] = sum(said) if said and isinstance(said[0], int) else next(iter(said), None)
    return SimpleNamespace(**merged)


def _kafka_retention() -> dg.AssetChecksDefinition:
    @dg.asset_check(
        name=RETENTION_CHECK,
        asset="raw_data",
        description="What batch has not read yet is younger than half of what the log keeps. Also looked at by the "
        "sensor, so that it warns when no run reads any more.",
    )
    def kafka_retention(database: DatabaseResource, log: LogResource) -> dg.AssetCheckResult:
        engine = database.engine()
        try:
            found = check_retention(engine, log.connection(), log.topic(), datetime.now(UTC))
        finally:
            engine.dispose()
        return dg.AssetCheckResult(
            passed=found.passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=found.text,
            metadata={"unread_records": found.unread},
        )

    return kafka_retention
