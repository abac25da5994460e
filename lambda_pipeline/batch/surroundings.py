"""What the batch layer's assets stand between: the sources, the log, the speed layer, and what is served.

None of it is filled by Dagster; it is there so that the graph shows the whole platform.
"""

import dagster as dg

OWNERS = ["team:city-data"]
LOG = "traffic_aqi_data"

SURROUNDINGS = (
    dg.AssetSpec(
        "tomtom", group_name="sources", kinds={"api"}, owners=OWNERS,
        description="TomTom's traffic flow: current and free-flow speed on the road nearest to each location. "
        "Polled by `lambda-pipeline ingest`.",
    ),
    dg.AssetSpec(
        "aqicn", group_name="sources", kinds={"api"}, owners=OWNERS,
        description="AQICN's feed: the air quality index of each location's station. Polled by "
        "`lambda-pipeline ingest`.",
    ),
    dg.AssetSpec(
        LOG, group_name="log", kinds={"kafka"}, owners=OWNERS, deps=["tomtom", "aqicn"],
        description="The log: one observation of one location a record, in the order of arrival. Both layers read "
        "it for themselves, and every position belongs to exactly one of them.",
    ),
    dg.AssetSpec(
        "realtime_data", group_name="speed_layer", kinds={"kafka", "postgres"}, owners=OWNERS, deps=[LOG],
        metadata={"dagster/table_name": "realtime_data"},
        description="What the speed daemon consumed and no publish contains yet. Filled continuously by "
        "`lambda-pipeline speed`, outside Dagster; a sensor notes its lag and newest observation here.",
    ),
    dg.AssetSpec(
        "served_hourly", group_name="serving_layer", kinds={"postgres"}, owners=OWNERS,
        deps=["realtime_data", "hourly_aggregations"],
        metadata={"dagster/table_name": "served_hourly"},
        description="The union, as a view: an hour is what batch published plus what the speed layer holds, kept "
        "apart by log position, so that each observation counts once at every instant. The dashboard, the command "
        "line and SQL all read it.",
    ),
    dg.AssetSpec(
        "dashboard", group_name="serving_layer", kinds={"streamlit"}, owners=OWNERS,
        deps=["served_hourly", "daily_aggregations", "peak_hours_analysis", "peak_hours"],
        description="What analysts look at: heatmaps, peak hours, statistics and raw data, live and over the months.",
    ),
)  # fmt: skip
