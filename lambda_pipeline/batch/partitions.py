"""Dagster's partitions: the days of the city, today included; and the days that a run is about."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta

import dagster as dg

PARTITION_TAG = "dagster/partition"
RANGE_START_TAG, RANGE_END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
Days = tuple[date, date]  # half-open


def city_days(timezone: str, history_start: date) -> dg.DailyPartitionsDefinition:
    """One partition a city day, from the start of history to the current day."""
    return dg.DailyPartitionsDefinition(start_date=history_start.isoformat(), timezone=timezone, end_offset=1)


def window(context: dg.AssetExecutionContext) -> Days:
    """The half-open range of city days that a run materializes: one partition or a range of them."""
    keys = context.partition_key_range
    return date.fromisoformat(keys.start), date.fromisoformat(keys.end) + timedelta(days=1)


def days_of_tags(tags: Mapping[str, str]) -> Days | None:
    """The half-open range of city days that a run with these tags is about; None if it names none."""
    first = tags.get(RANGE_START_TAG) or tags.get(PARTITION_TAG)
    last = tags.get(RANGE_END_TAG) or tags.get(PARTITION_TAG)
    if first is None or last is None:
        return None
    try:
        return date.fromisoformat(first), date.fromisoformat(last) + timedelta(days=1)
    except ValueError:
        return None  # another job's partitions


def range_tags(first: date, until: date) -> dict[str, str]:
    """The tags of a run over the city days [first, until)."""
    return {RANGE_START_TAG: first.isoformat(), RANGE_END_TAG: (until - timedelta(days=1)).isoformat()}


def each_day(first: date, until: date) -> Iterator[date]:
    """The days of a half-open range."""
    return (first + timedelta(days=number) for number in range((until - first).days))


def describe_days(days: Days) -> str:
    """A half-open range of city days in words: its first and its last one."""
    first, last = days[0], days[1] - timedelta(days=1)
    return f"{first}" if first == last else f"{first} to {last}"
