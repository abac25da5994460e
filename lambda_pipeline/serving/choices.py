"""Choices that `--help` names: kept apart from what implements them, which is slow to import."""

from enum import StrEnum


class What(StrEnum):
    """What can be exported."""

    CONDITIONS = "conditions"
    HOURLY = "hourly"
    DAILY = "daily"
    PEAK_HOURS = "peak-hours"
    OBSERVED_PEAKS = "observed-peaks"
    RAW = "raw"


class Format(StrEnum):
    """How it is written."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"
