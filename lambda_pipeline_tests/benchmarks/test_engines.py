"""The engines' benchmark: what it says of its figures."""

from benchmarks.engines.__main__ import goal_rows
from benchmarks.report import summary_table

FIGURES = {
    "postgres.1.seconds": [4.0, 5.0, 6.0], "postgres.1.longest": [100.0, 600.0, 90.0],
    "duckdb.1.seconds": [2.0, 2.5, 3.0], "duckdb.1.bare": [0.5, 0.5, 0.5], "duckdb.1.mib": [200.0, 200.0, 200.0],
    "duckdb.1.longest": [80.0, 80.0, 80.0],
    "duckdb.7.seconds": [21.0, 14.0, 28.0], "duckdb.7.bare": [2.0, 2.0, 2.0], "duckdb.7.mib": [210.0, 210.0, 210.0],
    "duckdb.7.longest": [80.0, 80.0, 80.0],
    "spark.1.seconds": [9.0], "spark.1.engine_seconds": [7.0], "spark.1.start": [4.0], "spark.1.mib": [300.0],
    "spark.1.longest": [80.0], "spark.1.java": [1200.0],
    "spark.7.seconds": [77.0], "spark.7.engine_seconds": [70.0], "spark.7.start": [4.0], "spark.7.mib": [360.0],
    "spark.7.longest": [80.0], "spark.7.java": [1250.0],
}  # fmt: skip


def test_the_table_says_what_was_measured_and_what_was_to_be_reached() -> None:
    assert summary_table(goal_rows(FIGURES, 2_880_000, [1, 7])).rows == (
        ("2.9 million archived rows to published hours, duckdb", "2.5 s (2.0 to 3.0)",
         "PostgreSQL 5.0 s (4.0 to 6.0); duckdb alone 0.5 s (0.5 to 0.5)", "2.0 times as fast", "", ""),
        ("20.2 million archived rows to published hours, duckdb", "21.0 s (14.0 to 28.0)",
         "alone 2.0 s (2.0 to 2.0)", "", "under 10 s", "**no**"),
        ("duckdb, 7 times the rows, time for each row", "1.20 times", "", "", "close to linear: 1.2 or less", "yes"),
        ("duckdb, memory of the process", "210 MiB (210 to 210)", "1 days 200 MiB (200 to 200)", "1.05",
         "flat: 1.1 or less", "yes"),
        ("2.9 million archived rows to published hours, spark", "9.0 s",
         "PostgreSQL 5.0 s (4.0 to 6.0); spark aggregating and landing 7.0 s; "
         "its start apart, 4.0 s", "0.6 times as fast", "", ""),
        ("20.2 million archived rows to published hours, spark", "77.0 s",
         "aggregating and landing 70.0 s; its start apart, 4.0 s", "", "", ""),
        ("spark, 7 times the rows, time for each row", "1.22 times", "", "", "close to linear: 1.2 or less", "**no**"),
        ("spark, memory of the process", "360 MiB", "1 days 300 MiB", "1.20",
         "flat: 1.1 or less", "**no**"),
        ("spark, its largest Java process", "1,250 MiB", "1 days 1,200 MiB", "",
         "an executor's 1024 MiB and Java's own for all", ""),
        ("lock held by a swap, longest", "600 ms", "", "", "under 500 ms", "**no**"),
    )  # fmt: skip
