"""What the tests of the serving layer share: two days at four places, and the ways in which they come in."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import pytest

from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.serving import frames
from lambda_pipeline.serving.layer import ServingView
from lambda_pipeline_tests.integration.serving.data import Log
from lambda_pipeline_tests.servers import POLL_INTERVAL

ZONE = "Asia/Jakarta"
WINDOWS = ((6, 10), (16, 20))
PLACES = ("Cinere", "Gunung", "Kemayoran", "Krukut")  # the last one never has an AQI
FIRST, UNTIL = date(2025, 3, 3), date(2025, 3, 5)  # a Monday and a Tuesday
START = datetime(2025, 3, 2, 17, tzinfo=UTC)  # Monday 00:00 in Jakarta
DAYS = 2
EXPECTED = 60 // (POLL_INTERVAL.seconds // 60)  # observations an hour and location

READS: Mapping[str, tuple[Mapping[str, str], Callable[[ServingView], pd.DataFrame]]] = {
    "get_combined_heatmap_data": (frames.HEATMAP, lambda view: view.get_combined_heatmap_data()),
    "get_hourly": (frames.HOURLY, lambda view: view.get_hourly(FIRST, UNTIL)),
    "get_daily": (frames.DAILY, lambda view: view.get_daily(FIRST, UNTIL)),
    "get_peak_hours_analysis": (frames.PEAK_HOURS, lambda view: view.get_peak_hours_analysis(FIRST, UNTIL)),
    "get_observed_peaks": (frames.OBSERVED_PEAKS, lambda view: view.get_observed_peaks(FIRST, UNTIL)),
    "get_statistics": (frames.STATISTICS, lambda view: view.get_statistics(FIRST, UNTIL)),
    "get_city_hourly": (frames.CITY_HOURLY, lambda view: view.get_city_hourly(FIRST, UNTIL)),
    "get_hour": (frames.HOUR, lambda view: view.get_hour(START)),
    "get_distribution": (frames.DISTRIBUTION, lambda view: view.get_distribution(FIRST, UNTIL)),
    "get_raw_data": (frames.RAW, lambda view: view.get_raw_data(FIRST, UNTIL)),
    "get_dead_letters": (frames.DEAD_LETTERS, lambda view: view.get_dead_letters()),
    "get_freshness": (frames.FRESHNESS, lambda view: view.get_freshness()),
}
AQI_COLUMNS = {
    "get_hourly": "avg_aqi", "get_daily": "avg_aqi", "get_peak_hours_analysis": "avg_aqi_value",
    "get_raw_data": "aqi_value",
}  # fmt: skip
ARGUMENTS: Mapping[str, tuple[Any, ...]] = {  # of what is not asked by a range of days
    "get_combined_heatmap_data": (), "get_hour": (START,), "get_dead_letters": (), "get_freshness": (),
}  # fmt: skip
RANGED = [name for name in READS if name not in ARGUMENTS]
SOME_ROWS = {"get_combined_heatmap_data": 10, "get_distribution": 11, "get_freshness": 2}  # of an unused database
AGES = ["age_seconds", "aqi_age_seconds", "traffic_age_seconds"]


def speed_only(log: Log, messages: list[ObservationMessage]) -> None:
    log.append(*messages)
    log.consume()


def batch_only(log: Log, messages: list[ObservationMessage]) -> None:
    log.append(*messages)
    log.store()
    log.publish()
    log.compute_days()


def both_layers(log: Log, messages: list[ObservationMessage]) -> None:
    """Most of it published, out of an hour that goes on; then repeated and late observations."""
    late, punctual = messages[5::50], [m for number, m in enumerate(messages) if number % 50 != 5]
    log.append(*punctual)
    most = len(punctual) * 2 // 3
    log.consume(most + 40)
    log.store(most)
    log.publish()
    log.compute_days()
    log.append(*late, *punctual[:100])
    log.consume()


WAYS = [speed_only, batch_only, both_layers]
ways = pytest.mark.parametrize("feed", WAYS)
