"""The columns and dtypes of every frame that `ServingLayer` returns.

A frame with no rows has the same columns and dtypes as a full one. Instants are UTC; `date` and `hour` are the
city's; speeds are km/h; AQI and traffic level are averages unless named otherwise; `layer` is "batch", "speed" or
"both". Averages leave missing measures out, and the counts beside them say how many observations they rest on.
"""

from typing import Final

INSTANT: Final = "datetime64[us, UTC]"
DAY: Final = "datetime64[us]"  # midnight of the city's day, without a zone: a calendar date

# one row per location of the catalogue that was ever observed, or is switched on
HEATMAP: Final = {
    "location": "str",
    "latitude": "float64",
    "longitude": "float64",
    "observed_at": INSTANT,
    "age_seconds": "float64",
    "aqi_value": "Int64",
    "aqi_category": "str",
    "aqi_observed_at": INSTANT,
    "aqi_age_seconds": "float64",
    "aqi_measured_at": INSTANT,
    "dominant_pollutant": "str",
    "pollutants": "str",  # JSON object of sub-indices, or missing
    "attributions": "str",  # JSON list of {"name", "url"}, or missing
    "traffic_level": "Int64",
    "traffic_observed_at": INSTANT,
    "traffic_age_seconds": "float64",
    "current_speed": "float64",
    "free_flow_speed": "float64",
    "congestion_ratio": "float64",
    "road_closure": "boolean",
    "is_peak_hour": "bool",
    "layer": "str",
}

# one row per hour and location
HOURLY: Final = {
    "hour_start": INSTANT,
    "date": DAY,
    "hour": "int64",
    "location": "str",
    "avg_aqi": "float64",
    "avg_traffic": "float64",
    "min_aqi": "Int64",
    "max_aqi": "Int64",
    "min_traffic": "Int64",
    "max_traffic": "Int64",
    "avg_speed": "float64",
    "avg_congestion_ratio": "float64",
    "data_points_count": "int64",
    "aqi_count": "int64",
    "traffic_count": "int64",
    "expected_count": "Int64",
    "aqi_category": "str",
    "is_peak_hour": "bool",
    "layer": "str",
}

# one row per city day and location; `is_peak_hour` is always missing, as in the first system's daily rows
DAILY: Final = {
    "date": DAY,
    "location": "str",
    "avg_aqi": "float64",
    "avg_traffic": "float64",
    "min_aqi": "Int64",
    "max_aqi": "Int64",
    "min_traffic": "Int64",
    "max_traffic": "Int64",
    "data_points_count": "int64",
    "aqi_count": "int64",
    "traffic_count": "int64",
    "expected_count": "Int64",
    "is_peak_hour": "boolean",
    "peak_avg_aqi": "float64",
    "peak_avg_traffic": "float64",
    "off_peak_avg_aqi": "float64",
    "off_peak_avg_traffic": "float64",
    "aqi_category": "str",
}

# one row per hour and location, with the first system's column names
PEAK_HOURS: Final = {
    "hour_start": INSTANT,
    "date": DAY,
    "hour": "int64",
    "location": "str",
    "avg_traffic_level": "float64",
    "avg_aqi_value": "float64",
    "traffic_count": "int64",
    "aqi_count": "int64",
    "total_records": "int64",
    "is_weekend": "bool",
    "is_peak_hour": "bool",
    "layer": "str",
}

# one row per location, weekday or weekend, and city hour: the average day of the asked range, and its observed peaks
OBSERVED_PEAKS: Final = {
    "location": "str",
    "is_weekend": "bool",
    "hour": "int64",
    "avg_traffic": "float64",
    "traffic_count": "int64",
    "avg_aqi": "float64",
    "aqi_count": "int64",
    "days": "int64",
    "is_peak_hour": "bool",  # in a configured window
    "is_traffic_peak": "bool",  # as observed: see domain/peak_hours.py
    "is_aqi_peak": "bool",
}

# one row per location over the asked range, and one for the whole city (location is missing), weighted by observations
STATISTICS: Final = {
    "location": "str",
    "avg_aqi": "float64",
    "min_aqi": "Int64",
    "max_aqi": "Int64",
    "aqi_category": "str",
    "avg_traffic": "float64",
    "min_traffic": "Int64",
    "max_traffic": "Int64",
    "avg_speed": "float64",
    "peak_avg_aqi": "float64",
    "peak_avg_traffic": "float64",
    "off_peak_avg_aqi": "float64",
    "off_peak_avg_traffic": "float64",
    "data_points_count": "int64",
    "aqi_count": "int64",
    "traffic_count": "int64",
    "expected_count": "Int64",
}

# single observations, newest first
RAW: Final = {
    "timestamp": INSTANT,
    "location": "str",
    "latitude": "float64",
    "longitude": "float64",
    "aqi_value": "Int64",
    "aqi_category": "str",
    "traffic_level": "Int64",
    "current_speed": "float64",
    "free_flow_speed": "float64",
    "road_closure": "boolean",
    "pollutants": "str",
    "is_peak_hour": "bool",
    "source": "str",
    "layer": "str",
}

# exactly two rows: layer "speed", then "batch"
FRESHNESS: Final = {
    "layer": "str",
    "newest_observation": INSTANT,
    "age_seconds": "float64",
    "updated_at": INSTANT,  # when the layer last changed: its last commit or publish
    "observations": "int64",  # how many the layer serves
    "hours": "int64",  # in how many hours
    "dead_letters": "int64",  # of the log, the same in both rows
}

# one row per hour, over all locations or the chosen ones, weighted by observations
CITY_HOURLY: Final = {
    "hour_start": INSTANT,
    "date": DAY,
    "hour": "int64",
    "avg_aqi": "float64",
    "avg_traffic": "float64",
    "avg_speed": "float64",
    "data_points_count": "int64",
    "aqi_count": "int64",
    "traffic_count": "int64",
    "expected_count": "Int64",
    "is_weekend": "bool",
    "is_peak_hour": "bool",
    "layer": "str",
}

# one row per location that was observed in one hour; coordinates as in HEATMAP
HOUR: Final = {
    "location": "str",
    "latitude": "float64",
    "longitude": "float64",
    "avg_aqi": "float64",
    "aqi_category": "str",
    "aqi_count": "int64",
    "avg_traffic": "float64",
    "traffic_count": "int64",
    "avg_speed": "float64",
    "data_points_count": "int64",
    "is_peak_hour": "bool",
    "layer": "str",
}

# one row per band of each measure, "aqi" then "traffic", in the bands' order, also those without any hour
DISTRIBUTION: Final = {
    "measure": "str",
    "band": "str",  # the AQI category's or the traffic level's name in the domain
    "rank": "int64",  # from 1
    "hours": "int64",  # hours at one location whose average is in the band
}

# messages that could not be read, newest first
DEAD_LETTERS: Final = {
    "position": "str",  # topic[partition]@offset
    "appended_at": INSTANT,
    "error": "str",
    "key": "str",
    "payload": "str",  # its first 2,000 bytes, what is not UTF-8 replaced
    "payload_bytes": "Int64",
}
