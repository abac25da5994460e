"""Rows of a statement as a typed frame, column by column, since a city may have ten thousand of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lambda_pipeline.serving import frames


def typed_frame(rows: Sequence[Sequence[Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """A frame with exactly these columns and dtypes (as frames.py writes them), also without a row or a value.

    Each row has a value, or None, for each of the columns, in their order.
    """
    values: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return pd.DataFrame(
        {name: _column(column, dtype) for (name, dtype), column in zip(columns.items(), values, strict=True)},
        copy=False,
    )


def _column(values: Sequence[Any], dtype: str) -> Any:
    if dtype in ("float64", "int64", "bool"):
        return np.array(values, dtype=dtype)
    if dtype == frames.INSTANT:
        return pd.DatetimeIndex(pa.array(values, pa.timestamp("us", "UTC")).to_numpy(zero_copy_only=False)).tz_localize(
            "UTC"
        )
    if dtype == frames.DAY:
        return np.array(values, dtype="datetime64[us]")
    return pd.array(values, dtype=dtype)  # type: ignore[call-overload]
