"""The air's lag behind the traffic: hourly averages in, Pearson's r per lag out, and in words."""

import numpy as np
import pandas as pd
import pytest

from dashboard import peak_charts
from dashboard.correlation import LEAST_PAIRS, lagged_correlation
from dashboard.texts import Texts
from lambda_pipeline.serving import frames
from lambda_pipeline_tests.dashboard.fake_observations import typed

T = Texts()


def hours(count: int = 24 * 7, lag: int = 2, sign: float = 1.0) -> pd.DataFrame:
    """CITY_HOURLY in which AQI is exactly the traffic `lag` hours before."""
    starts = pd.date_range("2026-03-01", periods=count, freq="h", tz="UTC")
    noise = np.random.default_rng(3).random(count + 48)
    return typed(
        pd.DataFrame(
            {
                "hour_start": starts,
                "avg_traffic": 1 + 4 * noise[24 : 24 + count],
                "avg_aqi": 80 + sign * 40 * noise[24 - lag : 24 - lag + count],
                **dict.fromkeys(("data_points_count", "aqi_count", "traffic_count", "hour"), 1),
                **dict.fromkeys(("is_weekend", "is_peak_hour"), False),
            }
        ),
        frames.CITY_HOURLY,
    )


@pytest.mark.parametrize("lag", [-3, 0, 2, 12])
def test_the_lag_that_was_put_in_is_found(lag: int) -> None:
    strongest = lagged_correlation(hours(lag=lag)).strongest
    assert strongest is not None
    assert strongest["lag"] == lag
    assert strongest["r"] == pytest.approx(1)
    assert strongest["pairs"] == 24 * 7 - abs(lag)


def test_it_is_pearsons_r() -> None:
    frame = hours()
    found = lagged_correlation(frame).lags.set_index("lag")["r"]
    for lag in (-5, 0, 1, 7):
        assert found[lag] == pytest.approx(frame["avg_traffic"].corr(frame["avg_aqi"].shift(-lag)))


def test_missing_hours_are_not_bridged() -> None:
    """Without ten hours in the middle, what is left still pairs with the hours that are two hours later."""
    frame = hours()
    gap = frame.drop(index=range(50, 60)).reset_index(drop=True)
    found = lagged_correlation(gap)
    strongest = found.strongest
    assert strongest is not None
    assert (strongest["lag"], strongest["pairs"]) == (2, 24 * 7 - 2 - 12)
    halves = frame.assign(avg_aqi=frame["avg_aqi"].where(frame.index != 50))
    assert lagged_correlation(halves).lags.set_index("lag").loc[2, "pairs"] == 24 * 7 - 2 - 1


def test_too_few_pairs_have_no_r() -> None:
    found = lagged_correlation(hours(count=LEAST_PAIRS + 1))
    known = found.lags[found.lags["r"].notna()]
    assert list(known["lag"]) == [-1, 0, 1]
    assert lagged_correlation(hours(count=LEAST_PAIRS - 1)).strongest is None


def test_a_measure_that_never_changes_or_is_missing_has_no_r() -> None:
    frame = hours()
    assert lagged_correlation(frame.assign(avg_aqi=61.0)).strongest is None
    assert lagged_correlation(frame.assign(avg_aqi=np.nan)).strongest is None
    assert not len(lagged_correlation(frame.iloc[:0]).lags)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (hours(lag=2), "AQI follows traffic by 2 h (r = 1.00, 166 pairs of hours)"),
        (hours(lag=-3), "AQI runs ahead of traffic by 3 h (r = 1.00, 165 pairs of hours)"),
        (hours(lag=0), "AQI and traffic go together within the hour (r = 1.00, 168 pairs of hours)"),
        (
            hours(lag=1, sign=-1),
            "AQI follows traffic by 1 h, in the opposite direction (r = -1.00, 167 pairs of hours)",
        ),
        (hours(count=5), "Too few pairs of hours to tell: 5 of at least 24."),
        (hours(count=0), "Too few pairs of hours to tell: 0 of at least 24."),
    ],
)
def test_the_strongest_lag_is_said_in_words(frame: pd.DataFrame, said: str) -> None:
    found = lagged_correlation(frame)
    assert peak_charts.correlation_in_words(found, T) == said
    assert peak_charts.correlation(found, T).to_json()


def test_the_strongest_lag_stands_out_by_pattern_and_number_not_by_colour_alone() -> None:
    (bars,) = peak_charts.correlation(lagged_correlation(hours()), T).data
    plain = [number for number, shape in enumerate(bars.marker.pattern.shape) if shape == ""]
    assert [bars.x[number] for number in plain] == [2]
    assert [text for text in bars.text if text] == ["1.00"]
    assert bars.customdata[plain[0]][0] == "AQI 2 h after traffic"
