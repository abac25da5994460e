"""The fake keeps serving/frames.py's promises, so that what the dashboard's tests show holds for the real layer."""

from collections.abc import Callable
from datetime import date

import pytest

from lambda_pipeline.serving import frames
from lambda_pipeline_tests.dashboard.fake_serving import NOW, FakeServing

DAYS = (date(2026, 3, 6), date(2026, 3, 13))
VARIANTS: dict[str, Callable[[], FakeServing]] = {
    "full": FakeServing,
    "empty": FakeServing.empty,
    "no aqi": lambda: FakeServing.without("aqi"),
    "no traffic": lambda: FakeServing.without("traffic"),
    "stale": FakeServing.stale,
    "hostile": FakeServing.hostile,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_frame_has_the_documented_columns_and_dtypes(variant: str) -> None:
    serving = VARIANTS[variant]()
    answers = {
        "heatmap": (serving.get_combined_heatmap_data(), frames.HEATMAP),
        "hourly": (serving.get_hourly(*DAYS), frames.HOURLY),
        "peaks": (serving.get_peak_hours_analysis(*DAYS), frames.PEAK_HOURS),
        "statistics": (serving.get_statistics(*DAYS), frames.STATISTICS),
        "raw": (serving.get_raw_data(*DAYS), frames.RAW),
        "freshness": (serving.get_freshness(), frames.FRESHNESS),
        "city_hourly": (serving.get_city_hourly(*DAYS), frames.CITY_HOURLY),
        "hour": (serving.get_hour(NOW.replace(minute=0)), frames.HOUR),
        "distribution": (serving.get_distribution(*DAYS), frames.DISTRIBUTION),
        "observed": (serving.get_observed_peaks(*DAYS), frames.OBSERVED_PEAKS),
        "dead_letters": (serving.get_dead_letters(), frames.DEAD_LETTERS),
    }
    for name, (frame, spec) in answers.items():
        assert {column: str(dtype) for column, dtype in frame.dtypes.items()} == spec, name
