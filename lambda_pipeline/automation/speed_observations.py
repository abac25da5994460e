"""The sensor that looks at the speed layer, so that Dagster shows it: its lag, its age, its dead letters.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

from datetime import UTC, datetime

import dagster as dg
import msgspec

from lambda_pipeline.batch.checks import RETENTION_CHECK
from lambda_pipeline.batch.retention import Retention, check_retention
from lambda_pipeline.errors import TransientError
from lambda_pipeline.resources import DatabaseResource, LogResource
from lambda_pipeline.serving.speed_state import SpeedState, speed_state

_EVERY = 60  # seconds
_AT_LEAST_EVERY = 3600  # seconds between observations of a layer that stands still


class _Seen(msgspec.Struct):
    """What was noted last, kept as the sensor's cursor; times in seconds since 1970."""

    state: str = ""
    state_at: float = 0
    retention: bool | None = None
    retention_at: float = 0


def build_speed_layer_sensor() -> dg.SensorDefinition:
    """Observes realtime_data every minute while it changes, every hour while it does not; looks at the retention."""

    @dg.sensor(
        name="speed_layer", minimum_interval_seconds=_EVERY, default_status=dg.DefaultSensorStatus.RUNNING,
        description="Notes at realtime_data how far the speed layer is: lag in records and seconds, newest "
        "observation, dead letters. Warns at raw_data before the log drops what batch has not read.",
    )  # fmt: skip
    def speed_layer(
        context: dg.SensorEvaluationContext, database: DatabaseResource, log: LogResource
    ) -> dg.SensorResult | dg.SkipReason:
        now = datetime.now(UTC)
        seen = msgspec.json.decode(context.cursor, type=_Seen) if context.cursor else _Seen()
        engine = database.engine()
        try:
            state = speed_state(engine, log.connection(), log.topic())
            retention = None
            if state.lag_records is not None:
                retention = check_retention(engine, log.connection(), log.topic(), now)
        except TransientError as error:
            return dg.SkipReason(str(error))
        finally:
            engine.dispose()
        events = _events(state, retention, seen, now)
        if not events:
            return dg.SkipReason("nothing has changed in the speed layer")
        return dg.SensorResult(asset_events=events, cursor=msgspec.json.encode(seen).decode())

    return speed_layer


def _events(
    state: SpeedState, retention: Retention | None, seen: _Seen, now: datetime
) -> list[dg.AssetObservation | dg.AssetCheckEvaluation]:
    """What is worth a note; `seen` is brought up to it."""
    events: list[dg.AssetObservation | dg.AssetCheckEvaluation] = []
    moment, digest = now.timestamp(), repr(state)
    if digest != seen.state or moment - seen.state_at >= _AT_LEAST_EVERY:
        seen.state, seen.state_at = digest, moment
        events.append(dg.AssetObservation("realtime_data", metadata=_describe(state, now)))
    if retention is not None and (retention.passed != seen.retention or moment - seen.retention_at >= _AT_LEAST_EVERY):
        seen.retention, seen.retention_at = retention.passed, moment
        events.append(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey("raw_data"),
                check_name=RETENTION_CHECK,
                passed=retention.passed,
                severity=dg.AssetCheckSeverity.WARN,
                description=retention.text,
                metadata={"unread_records": retention.unread},
            )
        )
    return events


def _describe(state: SpeedState, now: datetime) -> dict[str, int | float | str | dg.MetadataValue]:
    described: dict[str, int | float | str | dg.MetadataValue] = {
        "observations": state.observations,
        "dead_letters": state.dead_letters,
        "lag_records": "Kafka is not answering" if state.lag_records is None else state.lag_records,
    }
    if state.newest_observation is not None:
        described["newest_observation"] = dg.MetadataValue.timestamp(state.newest_observation)
        described["seconds_behind"] = round((now - state.newest_observation).total_seconds(), 1)
    if state.updated_at is not None:
        described["last_commit"] = dg.MetadataValue.timestamp(state.updated_at)
    return described
