"""Everything that Dagster shows, by name, on one screen."""

import dagster as dg

from lambda_pipeline.automation.alerts import AlertRules, build_alert_sensor
from lambda_pipeline.automation.failures import build_failure_sensor
from lambda_pipeline.automation.jobs import build_archive_job, build_job, resources
from lambda_pipeline.automation.maintenance import build_maintenance_job, build_maintenance_schedule
from lambda_pipeline.automation.schedules import build_archive_schedule, build_schedules
from lambda_pipeline.automation.speed_observations import build_speed_layer_sensor
from lambda_pipeline.automation.stale_hours import build_stale_hours_sensor
from lambda_pipeline.automation.webhook import Webhook
from lambda_pipeline.automation.workers import signing_executor
from lambda_pipeline.batch.archive import build_archive, build_archive_check
from lambda_pipeline.batch.assets import build_assets
from lambda_pipeline.batch.checks import build_checks
from lambda_pipeline.batch.surroundings import SURROUNDINGS
from lambda_pipeline.settings import load_settings

settings = load_settings()
city = (settings.city.timezone, settings.history_start)
webhook = Webhook(settings.alert_webhook_url.get_secret_value()) if settings.alert_webhook_url else None
rules = AlertRules(settings.alert_category, settings.alert_traffic_level or None, settings.alert_after)
batch_layer = build_job()
maintenance = build_maintenance_job(settings.dead_letter_days, settings.run_days, settings.raw_retention)
archive = build_archive_job()

defs = dg.Definitions(
    assets=[*SURROUNDINGS, *build_assets(*city), build_archive(*city)],
    asset_checks=[*build_checks(*city), build_archive_check(*city)],
    jobs=[batch_layer, archive, maintenance],
    schedules=[
        *build_schedules(batch_layer, *city),
        build_archive_schedule(archive, *city),
        build_maintenance_schedule(maintenance, settings.city.timezone),
    ],
    sensors=[
        build_stale_hours_sensor(batch_layer, *city),
        build_speed_layer_sensor(),
        build_failure_sensor(webhook),
        build_alert_sensor(webhook, rules),
    ],
    resources=resources(),
    executor=signing_executor,
)
