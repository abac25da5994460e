"""What the database knows for `status`: what each layer holds, what waits, who is alive.

Plain values for JSON; instants in city time with offset. Without pandas, which takes half a second to load.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.serving.log_state import LogState
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.sql import sql

NEEDS_ATTENTION = 5
"""Attempts in a row to recompute a day that did not help, from which on somebody should look."""
_SETTLED_MINUTES = 15  # after an hour's end: by then the hourly run has published it
ALIVE_SECONDS = 35.0
"""Three signs of life may be late or lost before a daemon counts as silent."""


@dataclass(frozen=True, slots=True)
class Positions:
    """Next offsets of the speed layer and of raw_data by (log, partition); None where a layer never read it."""

    by_partition: Mapping[tuple[UUID, int], tuple[int | None, int | None]]


def read_status(engine: sa.Engine) -> tuple[dict[str, Any], Positions]:
    """The database's part of the report, and how far both layers are, in one snapshot.

    Raises DatabaseUnavailableError, SchemaError.
    """
    with transaction(engine, "REPEATABLE READ", read_only=True) as database:
        known = database.execute(sql("serving/operations")).one()
        freshness = database.execute(sql("serving/freshness")).all()
        stale = database.execute(sql("serving/stale_hours")).scalar_one()
        waiting = database.execute(sql("serving/waiting_days"), {"minutes": _SETTLED_MINUTES}).all()
        failing = database.execute(sql("serving/failing_days"), {"attempts": NEEDS_ATTENTION}).all()
        daemons = database.execute(sql("serving/daemons")).all()
        positions = database.execute(sql("serving/log_positions")).all()
    clock = CityClock(known.timezone)
    report = {
        "city": known.city,
        "timezone": known.timezone,
        "database": {"bytes": known.database_bytes, "schema_version": known.schema_version},
        "daemons": [_daemon(row, clock) for row in daemons],
        "layers": [_layer(row, clock) for row in freshness],
        "poll_interval_seconds": known.poll_interval_seconds,
        "offsets_moved_seconds_ago": _ago(known.asked_at, known.offsets_moved_at),
        "published_hours": known.published_hours,
        "stale_hours": stale,
        "waiting_days": [
            {
                "day": row.city_date.isoformat(),
                "stale_hours": row.hours,
                "since": clock.local(row.since).isoformat(timespec="seconds"),
                "waiting_seconds": _ago(known.asked_at, row.since),
            }
            for row in waiting
        ],
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
        "dead_letters": {
            "open": known.open_letters,
            "open_of_last_24_hours": known.new_letters,
            "retried": known.retried_letters,
        },
    }
    return report, Positions({(row.log_id, row.partition): (row.consumed, row.stored) for row in positions})


def lag(log: LogState, positions: Positions, topic: str) -> dict[str, Any]:
    """How many records of the log each layer has not read, in all and by partition.

    `dropped` are partitions of which records left the log before raw_data had them; `soon_dropped` those of which
    raw_data has not read what is older than half of the retention.
    """
    partitions, dropped, soon = [], [], []
    for number, bound in sorted(log.bounds.items()):
        consumed, stored = positions.by_partition.get((log.log_id, number), (None, None))
        # A partition that nobody has read yet begins where the log begins.
        speed, batch = max(consumed or 0, bound.beginning), max(stored or 0, bound.beginning)
        if stored is not None and stored < bound.beginning:
            dropped.append(f"{topic}[{number}]@{stored}")
        elif batch < log.old.get(number, 0):
            soon.append(f"{topic}[{number}]@{batch}")
        partitions.append(
            {
                "partition": number,
                "end": bound.end,
                "speed_records": max(bound.end - speed, 0),
                "batch_records": max(bound.end - batch, 0),
            }
        )
    return {
        "speed_records": sum(one["speed_records"] for one in partitions),
        "batch_records": sum(one["batch_records"] for one in partitions),
        "partitions": partitions,
        "dropped": dropped,
        "soon_dropped": soon,
        "retention_hours": None if log.retention is None else log.retention.total_seconds() / 3600,
    }


def _layer(row: sa.Row[Any], clock: CityClock) -> dict[str, Any]:
    layer, newest, age, updated, observations, hours, _ = tuple(row)
    return {
        "layer": layer,
        "newest_observation": _in_city_time(newest, clock),
        "age_seconds": None if age is None else round(age, 1),
        "updated_at": _in_city_time(updated, clock),
        "observations": observations,
        "hours": hours,
    }


def _daemon(row: sa.Row[Any], clock: CityClock) -> dict[str, Any]:
    running = "alive" if row.silent_seconds <= ALIVE_SECONDS else "silent"
    state = running if row.stopped_at is None else "stopped"
    return {
        "role": row.role,
        "host": row.host,
        "pid": row.pid,
        "version": row.version,
        "state": state,
        "started_at": clock.local(row.started_at).isoformat(timespec="seconds"),
        "seen_at": clock.local(row.seen_at).isoformat(timespec="seconds"),
        "seen_seconds_ago": round(row.silent_seconds, 1),
        "detail": row.detail,
    }


def _ago(now: datetime, moment: datetime | None) -> float | None:
    return None if moment is None else round((now - moment).total_seconds(), 1)


def _in_city_time(instant: datetime | None, clock: CityClock) -> str | None:
    return None if instant is None else clock.local(instant).isoformat()
