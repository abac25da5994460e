"""The tables of a day, computed from its published hours. Running them again gives the same rows."""

from datetime import date
from typing import Literal, get_args

import sqlalchemy as sa

from lambda_pipeline.storage import locks
from lambda_pipeline.storage.engine import retrying, transaction
from lambda_pipeline.storage.scripts import run_script
from lambda_pipeline.storage.sql import sql, sql_text

DayTable = Literal["daily_aggregations", "peak_hours_analysis", "peak_hours"]
DAY_TABLES: tuple[DayTable, ...] = get_args(DayTable)


def compute_days(engine: sa.Engine, table: DayTable, first: date, until: date, run_id: str) -> int:
    """Compute one table for the city days [first, until), in one transaction; returns how many rows it wrote.

    `peak_hours_analysis`, the large one, writes only rows that are not there as they should be; the others all.
    Notes first up to which publication it takes the hours in: an hour that is published meanwhile leaves the day
    stale, never wrongly fresh.
    """

    def compute() -> int:
        values = {"first": first, "until": until}
        with transaction(engine) as database:
            locks.hold_days(database)
            database.execute(sql("batch/note_days"), {**values, "table_name": table, "run_id": run_id})
            if table == "daily_aggregations":
                database.execute(sql("batch/clear_days"), values)
            run_script(database, sql_text("batch/plan_by_hash"))
            return int(database.execute(sql(f"batch/{table}"), values).rowcount)

    return retrying(compute)
