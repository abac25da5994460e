"""One picture of the platform for `status`: what each layer holds, and what waits."""

from typing import Any

import pandas as pd
import sqlalchemy as sa

from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.storage.sql import sql


def platform_status(serving: ServingLayer) -> dict[str, Any]:
    """City, layers, stale hours and dead letters, as plain values for JSON; instants in city time with offset."""
    with serving.snapshot() as view:
        city = view.city()
        freshness = view.get_freshness()
        stale = view.scalar(sql("serving/stale_hours"))
        letters = view.scalar(sa.text("select count(*) from dead_letters"))
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
    }


def _in_city_time(instant: pd.Timestamp, clock: CityClock) -> str | None:
    return None if pd.isna(instant) else clock.local(instant).isoformat()
