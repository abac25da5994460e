"""A big city's conditions."""

import pandas as pd

from lambda_pipeline_tests.dashboard.fake_serving import HOSTILE_NAME, FakeServing


def many_places(count: int) -> pd.DataFrame:
    """HEATMAP of a big city, one of its places with a hostile name, another never observed."""
    few = FakeServing().get_combined_heatmap_data()
    many = few.loc[[number % len(few) for number in range(count)]].reset_index(drop=True)
    many["location"] = [f"Location {number}" for number in range(count)]
    many["latitude"] += [number / 1e5 for number in range(count)]
    many.loc[0, "location"] = HOSTILE_NAME
    for column in ("aqi_value", "traffic_level", "current_speed", "aqi_observed_at", "traffic_observed_at", "layer"):
        many.loc[1, column] = None
    return many
