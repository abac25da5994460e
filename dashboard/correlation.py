"""Does the air follow the traffic, and by how many hours? A CITY_HOURLY frame in, Pearson's r per lag out."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

LAGS: Final = range(-12, 13)  # hours
LEAST_PAIRS: Final = 24  # fewer pairs of hours give an r of chance


@dataclass(frozen=True, slots=True)
class Correlation:
    """How traffic and AQI go together at each lag."""

    lags: pd.DataFrame  # lag (hours that AQI comes after traffic), r (missing where it is not defined), pairs

    @property
    def strongest(self) -> "pd.Series[float] | None":
        """The row whose r is farthest from 0, the shortest lag first; None where no lag has enough pairs."""
        known = self.lags[self.lags["r"].notna()]
        if not len(known):
            return None
        order = pd.DataFrame({"r": -known["r"].abs().round(6), "hours": known["lag"].abs(), "lag": known["lag"]})
        return known.loc[order.sort_values(["r", "hours", "lag"]).index].iloc[0]


def lagged_correlation(hours: pd.DataFrame) -> Correlation:
    """Pearson's r of the hourly city averages of traffic and of AQI `lag` hours later.

    A pair is two hours that both were observed: missing hours are not bridged, and the hours are instants, so that a
    change of clocks shifts nothing.
    """
    rows = []
    if len(hours):
        means = hours.set_index("hour_start")[["avg_traffic", "avg_aqi"]]
        every = pd.date_range(means.index.min(), means.index.max(), freq="h")
        means = means.reindex(every)
        for lag in LAGS:
            pair = pd.DataFrame({"traffic": means["avg_traffic"], "aqi": means["avg_aqi"].shift(-lag)}).dropna()
            rows.append({"lag": lag, "r": _pearson(pair), "pairs": len(pair)})
    columns = {"lag": "int64", "r": "float64", "pairs": "int64"}
    return Correlation(pd.DataFrame(rows, columns=list(columns)).astype(columns))


def _pearson(pair: pd.DataFrame) -> float:
    if len(pair) < LEAST_PAIRS:
        return float("nan")
    traffic, aqi = (pair[name].to_numpy() - pair[name].mean() for name in ("traffic", "aqi"))
    scale = float(np.sqrt((traffic @ traffic) * (aqi @ aqi)))
    return float(traffic @ aqi) / scale if scale > 1e-12 else float("nan")
