"""Numbers and ages, as a language writes them."""

from typing import Any

import pandas as pd
import pytest

from dashboard.texts import Texts

T = Texts()


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "just now"), (42, "42 s ago"), (150, "2 min ago"), (3660 * 2, "2 h 2 min ago"), (90000 * 3, "3 days ago")],
)
def test_an_age_is_written_in_the_unit_that_says_enough(seconds: float, written: str) -> None:
    assert T.age(seconds) == written


@pytest.mark.parametrize(("value", "written"), [(1234567, "1,234,567"), (float("nan"), "–"), (None, "–"), (pd.NA, "–")])
def test_a_missing_number_is_a_dash_and_never_a_zero(value: Any, written: str) -> None:
    assert T.number(value) == written
