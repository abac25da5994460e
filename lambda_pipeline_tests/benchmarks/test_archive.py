"""The archive's benchmark: what it says of its figures."""

from benchmarks.archive import goal_rows
from benchmarks.report import summary_table

FIGURES = {
    "rows": [2_000_000.0] * 3, "bytes": [10.0, 20.0, 30.0], "bytes.table": [190.0, 190.0, 190.0],
    "bytes.indexes": [90.0, 90.0, 90.0], "write": [10.0, 20.0, 30.0], "copy": [5.0, 10.0, 10.0],
    "memory": [100.0, 300.0, 200.0], "read": [0.5, 0.25, 0.75], "read.one": [0.010, 0.020, 0.030],
}  # fmt: skip


def test_the_table_says_what_was_measured_and_what_was_to_be_reached() -> None:
    assert summary_table(goal_rows(FIGURES)).rows == (
        ("an observation in the archive", "20.0 bytes (10.0 to 30.0)", "in PostgreSQL 190 bytes, 90 of them in indexes",
         "9.5 times smaller", "10 times smaller or better", "**no**"),
        ("archive a day of 2,000,000 rows, read back and visible", "20.0 s (10.0 to 30.0)",
         "COPY of the same rows in the same order 10.0 s (5.0 to 10.0)", "2.00", "", ""),
        ("a million rows of it", "10.0 s (5.0 to 15.0)", "", "", "", ""),
        ("memory of the process that does, highest", "300 MiB", "", "", "", ""),
        ("read the columns of an aggregation", "0.50 s (0.25 to 0.75)", "", "", "", ""),
        ("read one location", "20 ms (10 to 30)", "", "", "", ""),
    )  # fmt: skip
