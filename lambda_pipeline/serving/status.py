"""One picture of the platform for `status`: what each layer holds, and what waits."""

from typing import Any

import pandas as pd
import sqlalchemy as sa

from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.storage.sql import sql

NEEDS_ATTENTION = 5
"""Attempts in a row to recompute a day that did not help, from which on somebody should look."""


def platform_status(serving: ServingLayer) -> dict[str, Any]:
    """City, layers, stale hours, dead letters, and days that fail again and again, as plain values for JSON.

    Instants are in city time with offset.
    """
    with serving.snapshot() as view:
        city = view.city()
        freshness = view.get_freshness()
        stale = view.scalar(sql("serving/stale_hours"))
        letters = view.scalar(sa.text("select count(*) from dead_letters"))
        failing = view.rows(sql("serving/failing_days"), {"attempts": NEEDS_ATTENTION})
    clock = city.clock()
    layers = []
    for row in freshness.to_dict("records"):
        newest, updated = row["newest_observation"], row["updated_at"]
        layers.append(
            {
                "layer": row["layer"],
                "newest_observation": _in_city_time(newest, clock),
                "updated_at": _in_city_time(updated, clock),
                "observations": int(row["observations"]),
                "hours": int(row["hours"]),
            }
        )
    return {
        "city": city.name,
        "timezone": city.timezone,
        "layers": layers,
        "stale_hours": int(stale),
        "dead_letters": int(letters),
        "needs_attention": [
            {
                "day": row.city_date.isoformat(),
                "stale_hours": row.hours,
                "attempts": row.attempts,
                "since": clock.local(row.first_seen_at).isoformat(timespec="seconds"),
                "run_key": row.run_key,
            }
            for row in failing
        ],
    }


def _in_city_time(instant: pd.Timestamp, clock: CityClock) -> str | None:
    return None if pd.isna(instant) else clock.local(instant).isoformat()
