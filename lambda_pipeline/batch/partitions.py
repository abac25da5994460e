"""Dagster's partitions: the days of the city, today included."""

from datetime import date, timedelta

import dagster as dg


def city_days(timezone: str, history_start: date) -> dg.DailyPartitionsDefinition:
    """One partition a city day, from the start of history to the current day."""
    return dg.DailyPartitionsDefinition(start_date=history_start.isoformat(), timezone=timezone, end_offset=1)


def window(context: dg.AssetExecutionContext) -> tuple[date, date]:
    """The half-open range of city days that a run materializes: one partition or a range of them."""
    keys = context.partition_key_range
    return date.fromisoformat(keys.start), date.fromisoformat(keys.end) + timedelta(days=1)
