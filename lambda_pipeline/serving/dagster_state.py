"""Whether Dagster's daemon lives, by the signs of life in its own storage. Knows the table, not Dagster."""

from dataclasses import dataclass

import sqlalchemy as sa

from lambda_pipeline.storage.engine import transaction

_BEATS = sa.text(
    "select daemon_type, cast(body as jsonb) ->> 'timestamp' as at, cast(body as jsonb) -> 'errors' as errors, "
    "extract(epoch from now())::double precision as now from daemon_heartbeats order by daemon_type"
)


@dataclass(frozen=True, slots=True)
class DagsterPart:
    """One of the daemon's parts: seconds since its last sign of life, and the first error that it told of, if any."""

    name: str
    silent_seconds: float
    error: str | None


def read_dagster(engine: sa.Engine) -> list[DagsterPart]:
    """The parts that have ever lived. Raises DatabaseUnavailableError, SchemaError where it is no storage yet."""
    with transaction(engine, read_only=True) as database:
        rows = database.execute(_BEATS).all()
    return [DagsterPart(row.daemon_type.lower(), row.now - float(row.at), _first(row.errors)) for row in rows if row.at]


def _first(errors: object) -> str | None:
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        return None
    return str(errors[0].get("message", "")).strip().splitlines()[0] or None
