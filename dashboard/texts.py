"""Every word of the page, one table per language. A language is complete when it has English's keys.

`Texts` is handed to whatever writes: `t("key", name=value)` gives a sentence, `t.number` and `t.age` write values the
way the language does. Values are put in as they are; whoever shows them as Markdown or HTML escapes them before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

ENGLISH: Final[Mapping[str, str]] = {
    "page.fallback": "Traffic and air",
    "page.subtitle": "Traffic and air quality, live and over the months",
    "tab.heatmaps": "Heatmaps",
    "tab.peaks": "Peak Hours Analysis",
    "tab.statistics": "Statistics",
    "tab.raw": "Raw Data",
    # header
    "status.live": "Live",
    "status.delayed": "Delayed",
    "status.stale": "Stale",
    "status.nothing": "No data yet",
    "status.live.help": "The newest observation is less than {minutes} minutes old.",
    "status.delayed.help": "The newest observation is more than {minutes} minutes old.",
    "status.stale.help": "The newest observation is more than {minutes} minutes old: is ingestion running?",
    "status.nothing.help": "Nothing was observed yet.",
    "header.newest": "Newest observation",
    "header.observations": "Observations served",
    "header.of_layers": "speed {speed} · batch {batch}",
    "header.speed": "Speed layer",
    "header.batch": "Batch layer",
    "header.layer.updated": "updated {age}",
    "header.layer.nothing": "nothing yet",
    "header.layer.help": "{observations} observations in {hours} hours; its newest is from {time}.",
    "header.dead_letters": "{count} messages could not be read; they are kept in dead_letters.",
    "never": "never",
    # sidebar
    "sidebar.locations": "Locations",
    "sidebar.locations.all": "All locations",
    "sidebar.range": "Days",
    "sidebar.range.help": "City days, both ends included. The maps always show the newest state.",
    "sidebar.peak.now": "Peak hours now",
    "sidebar.peak.not": "Off-peak now",
    "sidebar.peak.windows": "Peak windows: {windows}",
    "sidebar.peak.none": "No peak windows are configured.",
    "sidebar.layers": "How the numbers come about",
    "sidebar.layers.speed": "**Speed** shows an observation within about a second of its arrival.",
    "sidebar.layers.batch": "**Batch** recomputes every hour from the whole history.",
    "sidebar.layers.serving": "**Serving** joins the two: every observation counts exactly once.",
    "sidebar.sources": "Sources",
    "sidebar.sources.aqi": "Air quality: World Air Quality Index Project (waqi.info) "
    "and the stations' own sources: {sources}",
    "sidebar.sources.none": "none named yet",
    "sidebar.sources.traffic": "Traffic: © TomTom",
    "sidebar.sources.tiles": "Map: {attribution}",
    # maps
    "map.traffic": "Traffic now",
    "map.aqi": "Air quality now (AQI)",
    "map.note": "Newest value of each place; the number is the value, the glow its colour. Point or tap for details.",
    "map.without_coordinates": "Not on the map, because no coordinates are known",
    "map.alt.traffic": "Map of the newest traffic level of each location",
    "map.alt.aqi": "Map of the newest air quality index of each location",
    # measures
    "traffic": "Traffic level",
    "traffic.short": "Traffic",
    "traffic.unit": "level 1 to 5",
    "aqi": "AQI",
    "aqi.short": "AQI",
    "aqi.unit": "US EPA index",
    "speed.unit": "km/h",
    "level.1": "free",
    "level.2": "light",
    "level.3": "moderate",
    "level.4": "heavy",
    "level.5": "jammed",
    "category.Good": "Good",
    "category.Moderate": "Moderate",
    "category.Unhealthy for Sensitive Groups": "Unhealthy for Sensitive Groups",
    "category.Unhealthy": "Unhealthy",
    "category.Very Unhealthy": "Very Unhealthy",
    "category.Hazardous": "Hazardous",
    "category.Unknown": "Unknown",
    "layer.batch": "batch",
    "layer.speed": "speed",
    "layer.both": "both",
    # hover
    "hover.observed": "Observed {time}",
    "hover.old": "Over {hours} h old",
    "hover.measured": "Station's reading of {time}",
    "hover.dominant": "Dominant pollutant: {pollutant}",
    "hover.pollutants": "Sub-indices: {pollutants}",
    "hover.speed": "{current} of {free} km/h free flow",
    "hover.lost": "{share} of the speed lost",
    "hover.closed": "Road closed",
    "hover.peak": "Peak hours",
    "hover.off_peak": "Off-peak",
    "hover.layer": "Layer: {layer}",
    "hover.sources": "Source: {sources}",
    "hover.observations": "{count} observations",
    "hover.missing": "no value",
    # peak hours
    "peaks.traffic_by_hour": "Average traffic by hour",
    "peaks.aqi_by_hour": "Average AQI by hour",
    "peaks.combined": "Traffic and AQI together",
    "peaks.week": "{measure} by hour and weekday",
    "peaks.locations": "{measure}: peak against off-peak",
    "peaks.hour": "Hour of the day ({zone})",
    "peaks.shade": "peak",
    "peaks.peak": "Peak hours",
    "peaks.off_peak": "Off-peak",
    "peaks.note": "Averages over {count} observations, {start} to {end}; shaded: the configured peak windows.",
    "peaks.shown": "the {shown} highest of {total}",
    "weekday.0": "Mon",
    "weekday.1": "Tue",
    "weekday.2": "Wed",
    "weekday.3": "Thu",
    "weekday.4": "Fri",
    "weekday.5": "Sat",
    "weekday.6": "Sun",
    # statistics
    "statistics.avg_aqi": "Average AQI",
    "statistics.avg_traffic": "Average traffic level",
    "statistics.avg_speed": "Average speed",
    "statistics.range": "lowest {low}, highest {high}",
    "statistics.peaks": "peak {peak} · off {off_peak}",
    "statistics.observations": "Observations",
    "statistics.halves": "AQI {aqi} · traffic {traffic}",
    "statistics.completeness": "Completeness",
    "statistics.of_expected": "{count} of {expected} expected",
    "statistics.not_expected": "nothing is known to be expected",
    "statistics.traffic_levels": "How often each traffic level",
    "statistics.aqi_categories": "How often each AQI category",
    "statistics.hours": "Hours (one hour at one location)",
    "statistics.hours.hover": "{count} hours, {share}",
    "statistics.trend": "Trend, city average per {step}",
    "statistics.step.hour": "hour",
    "statistics.step.day": "day",
    "statistics.ranking": "Locations by average {measure}",
    "statistics.complete": "Completeness by location",
    "statistics.complete.axis": "Received, % of expected",
    "statistics.table": "All figures by location",
    "statistics.city": "Whole city",
    # raw data
    "raw.note": "Rows {first} to {last} of {total}, newest first; times are {zone}.",
    "raw.none": "No observation in these days and locations.",
    "raw.page_size": "Rows per page",
    "raw.download": "Download these rows (CSV)",
    "column.timestamp": "Time",
    "column.location": "Location",
    "column.latitude": "Latitude",
    "column.longitude": "Longitude",
    "column.aqi_value": "AQI",
    "column.aqi_category": "AQI category",
    "column.traffic_level": "Traffic level",
    "column.current_speed": "Speed, km/h",
    "column.free_flow_speed": "Free flow, km/h",
    "column.road_closure": "Road closed",
    "column.pollutants": "Pollutants",
    "column.is_peak_hour": "Peak",
    "column.source": "Source",
    "column.layer": "Layer",
    "column.avg_aqi": "Average AQI",
    "column.min_aqi": "Lowest AQI",
    "column.max_aqi": "Highest AQI",
    "column.avg_traffic": "Average level",
    "column.min_traffic": "Lowest level",
    "column.max_traffic": "Highest level",
    "column.avg_speed": "Average km/h",
    "column.peak_avg_aqi": "AQI, peak",
    "column.off_peak_avg_aqi": "AQI, off-peak",
    "column.peak_avg_traffic": "Level, peak",
    "column.off_peak_avg_traffic": "Level, off-peak",
    "column.data_points_count": "Observations",
    "column.aqi_count": "with AQI",
    "column.traffic_count": "with traffic",
    "column.expected_count": "Expected",
    # states
    "state.empty.title": "No data yet",
    "state.empty": "Nothing was observed so far. This page fills by itself as soon as something arrives.",
    "state.empty.demo": "To see it with a simulated city, without any API key:",
    "state.empty.up": "With your keys in .env, on the live APIs:",
    "state.no_rows": "No observations in these days and locations. Widen the choice in the sidebar.",
    "state.no_aqi": "No AQI value in these days: the AQICN half is missing. Traffic is shown as usual.",
    "state.no_traffic": "No traffic value in these days: the TomTom half is missing. Air quality is shown as usual.",
    "state.stale": "Nothing new since {time} ({age}). What is shown is correct, but old: is `lambda-pipeline` running?",
    "state.away": "The database does not answer just now. This page tries again by itself every {seconds} seconds.",
    "state.away.kept": "What you see was read at {time}.",
    "state.stopped": "The dashboard cannot go on: {message}",
    "state.unexpected": "Something went wrong while this page was made. It is in the dashboard's log; "
    "the page tries again by itself.",
    # ages
    "age.now": "just now",
    "age.seconds": "{n} s ago",
    "age.minutes": "{n} min ago",
    "age.hours": "{n} h {m} min ago",
    "age.days": "{n} days ago",
}

LANGUAGES: Final[Mapping[str, Mapping[str, str]]] = {"en": ENGLISH}
MISSING: Final = "–"


@dataclass(frozen=True, slots=True)
class Texts:
    """The words and number formats of one language."""

    language: str = "en"

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its values put in. An unknown key is an error of ours: KeyError."""
        text = LANGUAGES[self.language][key]
        return text.format(**values) if values else text

    def number(self, value: Any, decimals: int = 0) -> str:
        """A number with grouped thousands; a dash for a missing one."""
        return MISSING if value is None or pd.isna(value) else f"{value:,.{decimals}f}"

    def percent(self, share: float | None) -> str:
        """A share (1 is all) as a percentage."""
        return MISSING if share is None or pd.isna(share) else f"{100 * share:,.1f} %"

    def age(self, seconds: float | None) -> str:
        """How long ago, in the largest unit that says enough."""
        if seconds is None or pd.isna(seconds):
            return self("never")
        whole = max(int(seconds), 0)
        if whole < 5:
            return self("age.now")
        if whole < 60:
            return self("age.seconds", n=whole)
        if whole < 3600:
            return self("age.minutes", n=whole // 60)
        if whole < 48 * 3600:
            return self("age.hours", n=whole // 3600, m=whole % 3600 // 60)
        return self("age.days", n=whole // 86400)
