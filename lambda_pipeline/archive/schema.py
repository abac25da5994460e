"""What an archived day's file holds, column by column. Sorted by location (by its bytes) and timestamp.

Everything that `raw_data` has of an observation but the row's own number and a flag that is always true. Tests hold
names and types together with the database.
"""

import pyarrow as pa

from lambda_pipeline.archive.manifest import SCHEMA_VERSION

_INSTANT = pa.timestamp("us", tz="UTC")
_REQUIRED = {
    "location": pa.string(),
    "timestamp": _INSTANT,
    "hour_start": _INSTANT,
    "city_date": pa.date32(),
    "aqi_category": pa.string(),
    "is_peak_hour": pa.bool_(),
    "source": pa.string(),
    "log_partition": pa.int16(),
    "log_offset": pa.int64(),
    "created_at": _INSTANT,
}
_MEASURED = {
    "latitude": pa.float64(),
    "longitude": pa.float64(),
    "aqi_value": pa.int32(),
    "traffic_level": pa.int16(),
    "current_speed": pa.float64(),
    "free_flow_speed": pa.float64(),
    "congestion_ratio": pa.float64(),
    "road_closure": pa.bool_(),
    "pollutants": pa.string(),  # JSON
}
COLUMNS = (
    "location", "timestamp", "hour_start", "city_date", "latitude", "longitude", "aqi_value", "aqi_category",
    "traffic_level", "current_speed", "free_flow_speed", "congestion_ratio", "road_closure", "is_peak_hour",
    "pollutants", "source", "log_partition", "log_offset", "created_at",
)  # fmt: skip
"""In the order of sql/archive/read_day.sql."""
SCHEMA = pa.schema(
    [
        pa.field(name, _REQUIRED[name], nullable=False) if name in _REQUIRED else pa.field(name, _MEASURED[name])
        for name in COLUMNS
    ]
)
VERSION_KEY = b"lambda_pipeline.schema_version"


def described(facts: dict[str, str]) -> pa.Schema:
    """The schema with what a file says of itself, for whoever finds it without its manifest."""
    named = {f"lambda_pipeline.{name}": value for name, value in facts.items()}
    return SCHEMA.with_metadata({VERSION_KEY.decode(): str(SCHEMA_VERSION), **named})
