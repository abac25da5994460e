"""Where a measure is at or above a threshold, and for how long: for those who alert."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from lambda_pipeline.storage.deployment import load_city
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.sql import sql

AQI, TRAFFIC = "aqi", "traffic"
_POLLS_MISSED = 3  # after so many intervals without an observation a place counts as silent


@dataclass(frozen=True, slots=True)
class Exceedance:
    """A place's newest value of a measure: AQI, or traffic level 1 to 5. Instants are aware UTC.

    All observations from `since` to `observed_at` are at or above the threshold; None where the newest is below it.
    `below_at` and `below_value` are of the last one that is below, as far back as was looked; None where none is.
    """

    location: str
    measure: str
    observed_at: datetime
    value: int
    since: datetime | None
    below_at: datetime | None
    below_value: int | None


@dataclass(frozen=True, slots=True)
class Exceedances:
    """What is at or above the thresholds, or followed, in a city. `silence`: how long a place may say nothing."""

    city: str
    timezone: str
    silence: timedelta
    found: tuple[Exceedance, ...]


def find_exceedances(
    engine: sa.Engine,
    thresholds: Mapping[str, int],
    least: timedelta,
    followed: Mapping[str, Collection[str]],
    now: datetime,
) -> Exceedances:
    """Places whose newest value is at or above its measure's threshold, and those `followed` (names by measure).

    A measure without a threshold is not looked at. What exceeds for less than `least` is found too. Raises
    DatabaseUnavailableError, and SchemaError where the database is nobody's yet.
    """
    with transaction(engine, "REPEATABLE READ", read_only=True) as database:
        city, timezone, _, _ = load_city(database)
        interval = database.execute(sa.text("select poll_interval_seconds from deployment")).scalar() or 0
        silence = max(2 * least, _POLLS_MISSED * timedelta(seconds=interval))
        rows = database.execute(
            sql("serving/exceedances"),
            {
                "now": now,
                "gap": silence,
                "look_back": least + silence,  # a row that lasts for `least` has an observation before it began
                **{measure: thresholds.get(measure) for measure in (AQI, TRAFFIC)},
                **{f"{measure}_followed": sorted(followed.get(measure, ())) for measure in (AQI, TRAFFIC)},
            },
        ).all()
    found = tuple(
        Exceedance(
            row.location, row.measure, row.observed_at, row.value,
            row.since if row.value >= thresholds[row.measure] else None, row.below_at, row.below_value,
        )
        for row in rows
    )  # fmt: skip
    return Exceedances(city, timezone, silence, found)
