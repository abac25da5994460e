"""What the data say of the city's peak hours, beside the configured windows: for whoever looks at the asset."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa

from lambda_pipeline.domain.peak_hours import OBSERVED_PEAK_DAYS, OBSERVED_PEAK_RULES, ObservedPeakRule, observed_peaks
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.sql import sql


def describe_observed_peaks(engine: sa.Engine, until: date) -> str:
    """The peaks of the city's average days in the four weeks before a city day, as a table in Markdown.

    Of all locations together; the view `observed_peak_hours` has each one's.
    """
    values = {"first": until - timedelta(days=OBSERVED_PEAK_DAYS), "until": until}
    with transaction(engine, read_only=True) as connection:
        rows = connection.execute(sql("batch/city_profile"), values).all()
    lines = [
        f"The city's average days of the {OBSERVED_PEAK_DAYS} days before {until}: hours that are peaks, beside the "
        "configured windows.",
        "",
        "| days | configured | traffic peaks | AQI peaks |",
        "| --- | --- | --- | --- |",
    ]
    for days, is_weekend in (("weekdays", False), ("weekend", True)):
        hours = [row for row in rows if row.is_weekend == is_weekend]
        if hours:
            configured = (row.hour for row in hours if row.is_configured)
            found = (_listed(_peaks(hours, rule)) for rule in OBSERVED_PEAK_RULES)
            lines.append(f"| {' | '.join([days, _listed(configured), *found])} |")
    return "\n".join(lines)


def _peaks(hours: Sequence[sa.Row[Any]], rule: ObservedPeakRule) -> frozenset[int]:
    average, days = f"avg_{rule.measure}", f"{rule.measure}_days"
    averages = ((row.hour, row._mapping[average], row._mapping[days]) for row in hours)
    return observed_peaks({hour: (mean, count) for hour, mean, count in averages if mean is not None}, rule)


def _listed(hours: Iterable[int]) -> str:
    return ", ".join(f"{hour:02d}" for hour in sorted(hours)) or "none"
