"""Everything that Dagster shows, by name, on one screen."""

import dagster as dg

from lambda_pipeline.automation import build_job, build_schedules, resources
from lambda_pipeline.batch.assets import REALTIME_DATA, build_assets
from lambda_pipeline.settings import load_settings

settings = load_settings()
city = settings.city
batch_layer = build_job()

defs = dg.Definitions(
    assets=[REALTIME_DATA, *build_assets(city.timezone, settings.history_start)],
    jobs=[batch_layer],
    schedules=build_schedules(batch_layer, city.timezone, settings.history_start),
    resources=resources(),
    executor=dg.in_process_executor,
)
