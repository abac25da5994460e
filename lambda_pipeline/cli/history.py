"""The week of simulated history that a demo begins with."""

from collections.abc import Callable
from datetime import date, datetime, timedelta

from lambda_pipeline.batch.raw_data import import_observations
from lambda_pipeline.cli import common
from lambda_pipeline.local.demo import HISTORY_DAYS, has_history, note_history, simulated_history
from lambda_pipeline.local.stack import Stack
from lambda_pipeline.settings import Settings
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine

_SOURCE = "simulated history"


def write_history(stack: Stack, seed: int, until: datetime, step: timedelta, say: Callable[[str], None]) -> bool:
    """A week up to before `until` into raw_data, once in the life of a database; whether it was now.

    It is served once its hours are published, the hour that goes on too.
    """
    engine = make_engine(stack.addresses().writer_url, "history", BATCH_TIMEOUTS)
    lacking = not has_history(engine)
    if lacking:
        say("Writing a week of simulated history …")
        city = stack.settings.city
        simulated_history(engine, city, seed, until, step, lambda rows: import_observations(engine, rows, _SOURCE))
        note_history(engine)
    engine.dispose()
    return lacking


def recent_days(settings: Settings) -> tuple[date, date]:
    """The city days that the history and the present lie in, half-open."""
    today = settings.city.clock().city_date(common.utc_now())
    return max(today - timedelta(days=HISTORY_DAYS), settings.history_start), common.day_after(today)
