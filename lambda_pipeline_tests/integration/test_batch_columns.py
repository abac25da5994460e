"""What Dagster shows of the tables' columns is what the tables are."""

import pytest

from lambda_pipeline.archive.schema import COLUMNS
from lambda_pipeline.batch import columns
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

BOOKKEEPING = {"id", "is_processed", "created_at", "updated_at"}
PEAK_SPLIT = {name for name in columns.DAILY if name.startswith("peak_")}
TABLES = {
    "raw_data": columns.RAW_DATA,
    "peak_hours_analysis": columns.PEAK_HOURS_ANALYSIS,
    "peak_hours": columns.PEAK_HOURS,
    "batch_aggregations": {**columns.HOURLY, **columns.DAILY},
}


@pytest.mark.parametrize("table", TABLES)
def test_names_and_types_are_the_databases(database: Database, table: str) -> None:
    rows = database.rows(
        "select attname, format_type(atttypid, atttypmod) as type from pg_attribute "
        "where attrelid = to_regclass(:table) and attnum > 0 and not attisdropped",
        table=table,
    )
    found = {row.attname: row.type for row in rows if row.attname not in BOOKKEEPING}
    assert found == {name: kind for name, (kind, _) in TABLES[table].items()}


def test_the_archive_has_all_of_raw_data_and_when_it_was_stored() -> None:
    assert set(columns.RAW_ARCHIVE) - set(columns.RAW_DATA) == {"created_at"}
    assert set(COLUMNS) == set(columns.RAW_ARCHIVE)


def test_hours_and_days_share_their_columns_but_for_what_only_one_of_them_has() -> None:
    assert set(columns.HOURLY) - set(columns.DAILY) == {"hour_start", "hour", "is_peak_hour"}
    assert set(columns.DAILY) - set(columns.HOURLY) == PEAK_SPLIT
