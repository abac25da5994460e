"""What the batch layer's tables hold, column by column, and where each comes from: what Dagster shows of them.

The types are PostgreSQL's. A test compares names and types with the database.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

Columns = Mapping[str, tuple[str, str]]  # name: (type, description)

_HOUR = {
    "hour_start": ("timestamp with time zone", "Instant at which the city hour starts: the hour's key."),
    "date": ("date", "The city's calendar day."),
    "hour": ("smallint", "The city's hour, 0 to 23."),
}
_PLACE = {"location": ("text", "Name of the location in the city's catalogue.")}

RAW_DATA: Columns = {
    "timestamp": ("timestamp with time zone", "When it was observed. With the location: what identifies it."),
    **_PLACE,
    "hour_start": _HOUR["hour_start"],
    "city_date": _HOUR["date"],
    "latitude": ("double precision", "Degrees."),
    "longitude": ("double precision", "Degrees."),
    "aqi_value": ("integer", "Air quality index (US EPA), 0 to 1000; null where it was missing."),
    "aqi_category": ("character varying(50)", "US EPA's name for the AQI."),
    "traffic_level": ("smallint", "1 (free) to 5 (jammed); null where it was missing."),
    "current_speed": ("double precision", "km/h."),
    "free_flow_speed": ("double precision", "km/h on an empty road."),
    "congestion_ratio": ("double precision", "(free flow - current) / free flow."),
    "road_closure": ("boolean", "Whether the road was closed."),
    "is_peak_hour": ("boolean", "Whether the city hour lies in a configured peak window."),
    "pollutants": ("jsonb", "AQICN's sub-indices by pollutant."),
    "source": ("text", "Where it came from: kafka, or a file."),
    "log_partition": ("smallint", "Log partition (log_partitions.id) of the record that was stored first."),
    "log_offset": ("bigint", "Its offset there. Position decides which layer serves it."),
}
RAW_ARCHIVE: Columns = {
    **RAW_DATA,
    "created_at": ("timestamp with time zone", "When raw_data stored it."),
}
HOURLY: Columns = {
    **_HOUR,
    **_PLACE,
    "data_points_count": ("integer", "Observations that the row rests on."),
    "expected_count": ("integer", "Observations that polling at the set interval would have brought."),
    "avg_aqi": ("double precision", "AQI, of the observations that have one."),
    "min_aqi": ("integer", "AQI."),
    "max_aqi": ("integer", "AQI."),
    "aqi_sum": ("bigint", "Sum of the AQI: sums merge exactly."),
    "aqi_count": ("integer", "Observations with an AQI."),
    "avg_traffic": ("double precision", "Traffic level, of the observations that have one."),
    "min_traffic": ("smallint", "Traffic level."),
    "max_traffic": ("smallint", "Traffic level."),
    "traffic_sum": ("bigint", "Sum of the levels."),
    "traffic_count": ("integer", "Observations with a level."),
    "speed_sum_m_h": ("bigint", "Sum of the speeds, m/h."),
    "speed_count": ("integer", "Observations with a speed."),
    "min_speed": ("double precision", "km/h."),
    "max_speed": ("double precision", "km/h."),
    "ratio_sum_ppb": ("bigint", "Sum of the congestion ratios, billionths."),
    "ratio_count": ("integer", "Observations with a ratio."),
    "min_ratio": ("double precision", "Congestion ratio."),
    "max_ratio": ("double precision", "Congestion ratio."),
    "is_peak_hour": ("boolean", "Whether the city hour lies in a configured peak window."),
}
DAILY: Columns = {
    **{name: column for name, column in HOURLY.items() if name not in ("hour_start", "hour", "is_peak_hour")},
    "peak_data_points_count": ("integer", "Observations in the configured peak windows."),
    "peak_aqi_sum": ("bigint", "Sum of the AQI in the peak windows."),
    "peak_aqi_count": ("integer", "Observations with an AQI in the peak windows."),
    "peak_traffic_sum": ("bigint", "Sum of the levels in the peak windows."),
    "peak_traffic_count": ("integer", "Observations with a level in the peak windows."),
}
PEAK_HOURS_ANALYSIS: Columns = {
    **_HOUR,
    **_PLACE,
    "avg_traffic_level": ("double precision", "Average traffic level, 1 to 5."),
    "avg_aqi_value": ("double precision", "Average AQI."),
    "is_peak_hour": ("boolean", "Whether the city hour lies in a configured peak window."),
    "total_records": ("integer", "Observations that the row rests on."),
}
PEAK_HOURS: Columns = {
    "analysis_date": ("date", "The city's calendar day."),
    "peak_aqi_hour": ("smallint", "City hour with the highest average AQI; ties go to the earlier, then to the name."),
    "peak_aqi_value": ("double precision", "That average."),
    "peak_aqi_location": ("text", "Where."),
    "peak_traffic_hour": ("smallint", "City hour with the highest average traffic level."),
    "peak_traffic_value": ("double precision", "That average."),
    "peak_traffic_location": ("text", "Where."),
}

_MEASURES = {
    "aqi": "aqi_value", "traffic": "traffic_level", "speed": "current_speed", "ratio": "congestion_ratio",
}  # fmt: skip
HOURLY_LINEAGE: Mapping[str, Sequence[str]] = {
    "hour_start": ["hour_start"], "date": ["city_date"], "hour": ["hour_start"], "location": ["location"],
    "data_points_count": ["timestamp"], "is_peak_hour": ["hour_start"],
    **{
        name: [column]
        for measure, column in _MEASURES.items()
        for name in HOURLY if measure in name.split("_")
    },
}  # fmt: skip
RAW_ARCHIVE_LINEAGE: Mapping[str, Sequence[str]] = {name: [name] for name in RAW_DATA}
DAILY_LINEAGE: Mapping[str, Sequence[str]] = {
    **{name: [name] for name in DAILY if not name.startswith(("avg_", "peak_"))},
    "avg_aqi": ["aqi_sum", "aqi_count"],
    "avg_traffic": ["traffic_sum", "traffic_count"],
    **{name: [name.removeprefix("peak_"), "is_peak_hour"] for name in DAILY if name.startswith("peak_")},
}
PEAK_HOURS_ANALYSIS_LINEAGE: Mapping[str, Sequence[str]] = {
    **{name: [name] for name in ("hour_start", "date", "hour", "location", "is_peak_hour")},
    "avg_traffic_level": ["avg_traffic"],
    "avg_aqi_value": ["avg_aqi"],
    "total_records": ["data_points_count"],
}
PEAK_HOURS_LINEAGE: Mapping[str, Sequence[str]] = {
    "analysis_date": ["date"],
    **{
        f"peak_{measure}_{what}": [column] if what == "value" else [column, by]
        for measure, column in (("aqi", "avg_aqi"), ("traffic", "avg_traffic"))
        for what, by in (("hour", "hour"), ("value", ""), ("location", "location"))
    },
}


def column_metadata(
    columns: Columns, upstream: str | None = None, lineage: Mapping[str, Sequence[str]] | None = None
) -> dict[str, dg.TableSchema | dg.TableColumnLineage]:
    """Column schema and lineage as Dagster's metadata; `lineage` names columns of the asset `upstream`."""
    schema = dg.TableSchema([dg.TableColumn(name, kind, text) for name, (kind, text) in columns.items()])
    found: dict[str, dg.TableSchema | dg.TableColumnLineage] = {"dagster/column_schema": schema}
    if upstream is not None and lineage is not None:
        key = dg.AssetKey(upstream)
        found["dagster/column_lineage"] = dg.TableColumnLineage(
            {name: [dg.TableColumnDep(key, column) for column in sources] for name, sources in lineage.items()}
        )
    return found
