"""The benchmark's arithmetic, its tables, and what it writes into the page."""

import pytest

from benchmarks.batch import tables as batch_tables
from benchmarks.latency import latencies
from benchmarks.profile import parse_samples, parse_statements
from benchmarks.report import (
    Row,
    Table,
    markdown,
    percentile,
    plain,
    ratios,
    replace_between,
    summary_table,
    with_spread,
)
from benchmarks.summary import goal_rows

TABLE = Table("Goals", ("what", "rate"), (("a | b", "1"), ("c", "22,000")), ("Said below.",))
PAGE = "# Title\n<!-- speed: begin -->\nold\n<!-- speed: end -->\nrest\n"


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.991, 100), (1.0, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, share) == expected


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert {percentile([7.0], share) for share in (0.0, 0.5, 1.0)} == {7.0}


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_ratios_are_taken_run_by_run() -> None:
    assert ratios([10, 30, 50], [5, 10, 100]) == [2, 3, 0.5]


def test_the_spread_is_shown_only_where_there_are_several_runs() -> None:
    assert with_spread([1234.5]) == "1,234/s"
    assert with_spread([3000, 1000, 2000]) == "2,000/s (1,000 to 3,000)"
    assert with_spread([1.25], " ms", 2) == "1.25 ms"


def test_markdown_escapes_what_would_end_a_cell() -> None:
    assert markdown(TABLE) == (
        "### Goals\n\n| what | rate |\n| --- | --- |\n| a \\| b | 1 |\n| c | 22,000 |\n\nSaid below.\n"
    )


def test_plain_aligns_its_columns() -> None:
    assert plain(TABLE).splitlines() == ["Goals", "what   rate", "a | b  1", "c      22,000", "Said below."]


def test_the_table_of_goals_says_what_was_missed() -> None:
    table = summary_table([Row("a", "1", met=True), Row("b", "2", met=False), Row("c", "3")])
    assert [row[-1] for row in table.rows] == ["yes", "**no**", ""]
    assert all(len(row) == len(table.columns) for row in table.rows)


def test_only_what_is_between_the_markers_is_replaced() -> None:
    written = replace_between(PAGE, "speed", "new\n\ntext\n")
    assert written == "# Title\n<!-- speed: begin -->\nnew\n\ntext\n<!-- speed: end -->\nrest\n"
    assert replace_between(written, "speed", "new\n\ntext") == written


@pytest.mark.parametrize(
    "page",
    ["", "<!-- speed: begin -->", "<!-- speed: end --><!-- speed: begin -->", PAGE + PAGE, PAGE.replace("speed", "x")],
)
def test_a_page_without_its_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="needs one"):
        replace_between(page, "speed", "new")


def test_the_goals_of_the_flood_and_of_full_tables() -> None:
    figures = {"flood": [61_000.0], "flood.memory": [300.0], "flood.growth": [1.0], "copy": [200_000.0]}
    figures |= {"commit": [49_000.0], "filled.0": [50_000.0], "filled.1000": [45_000.0], "filled.10000": [39_000.0]}
    met = {row.what: row.met for row in goal_rows(figures)}
    assert met == {
        "one daemon, consumed to committed": True,
        "memory of the daemon under flood, highest": False,
        "one daemon against a plain COPY, 2,000 a commit": True,
        "its commit alone against the same COPY, 2,000 a commit": False,
        "one daemon, 0 rows in raw_data, realtime_data filled": None,
        "one daemon, 1,000 rows in raw_data, realtime_data filled": None,
        "one daemon, 10,000 rows in raw_data, realtime_data filled": False,
    }


def test_the_goals_of_the_batch_layer() -> None:
    figures = {"publish": [26.0], "publish.rows": [20_000_000.0], "first": [400.0], "lock.full": [180.0, 510.0]}
    figures |= {"bare.same": [20.0], "bare.keyed": [16.0], "bare.once": [28.0]}
    figures |= {
        "memory.few": [60.0],
        "memory.many": [61.0],
        "memory.backend.few": [12.0],
        "memory.backend.many": [20.0],
    }
    figures |= {"memory.hours": [167.0], "steady.work": [1.4], "steady.dagster": [7.5], "steady.steps": [4.0]}
    figures |= {"beside.alone": [50_000.0], "beside.publish": [41_000.0]}
    figures |= {f"years.{days}.{name}": [float(days)] for days in (365, 1461) for name in ("mib", "seconds", "work")}
    rows = {row.what: row for row in batch_tables.goal_rows(figures)}
    met = {what: row.met for what, row in rows.items() if row.met is not None}
    publish = "publish of 20,000,000 raw rows"
    assert met == {
        f"{publish}, against bare SQL hour by hour with the same indexes": True,
        f"{publish}, against the first system's SQL": True,
        "memory of the publishing process, 167 hours": True,
        "of its PostgreSQL backend, 167 hours": False,
        "lock held, all of the hour in the speed layer": False,
        "steady hour of 120,000 records, its work": True,
        "steady hour of 120,000 records, a run worker's process from start to end": False,
        "speed daemon in a flood beside a publish, against alone": True,
        "memory of the backfill of 1,461 days, Dagster's events included": False,
    }
    assert rows[f"{publish}, against bare SQL hour by hour with one key"].ratio == "1.62"
    assert rows[f"{publish}, against the first system's SQL"].ratio == "15.4 times as fast"


def test_readers_are_compared_round_by_round() -> None:
    figures = {"readers.600000.1": [10.0, 20.0, 10.0], "readers.600000.2": [8.0, 10.0, 8.0], "readers.1000.1": [0.5]}
    figures |= {"readers.1000.2": [1.0], "readers.own": [9.0], "readers.server": [5.0], "readers.locked": [7.0]}
    assert [(row.what.split(" of ")[0], row.measured, row.ratio) for row in batch_tables.goal_rows(figures)] == [
        ("1,000 records", "1.00 s", "0.50 times as fast"),
        ("600,000 records", "8.00 s (8.00 to 10.00)", "1.25 times as fast"),
    ]
    assert batch_tables.notes(figures) == [
        "One reader of 600,000 records takes 9.0 s of processor time in Python and 5.0 s in PostgreSQL; it holds the "
        "locks that it stores under for 7.0 s."
    ]


def test_a_message_was_served_when_its_position_could_first_be_seen() -> None:
    sent = "0 0 100.0\n1 0 105.0\n0 1 106.0\n0 2 106.5\n"
    samples = {0: [(100.5, 0), (107.0, 2)], 1: [(105.25, 0)]}
    assert latencies(sent, samples, warm_seconds=5) == [250.0, 1000.0, 500.0]


def test_the_statements_of_another_database_and_the_steps_before_an_execution_are_no_calls() -> None:
    head = "2025-06-01 10:00:00.000 UTC"
    lines = [
        f"{head} [12] lambda_writer@bench_1 LOG:  duration: 1.000 ms  parse _pg3_0: select 1",
        f"{head} [12] lambda_writer@bench_1 LOG:  duration: 0.500 ms  bind _pg3_0: select 1",
        f"{head} [12] lambda_writer@bench_1 LOG:  duration: 2.000 ms  execute _pg3_0: -- Says what it does",
        "\tselect 1",
        f"{head} [12] lambda_writer@bench_1 LOG:  duration: 9.000 ms  statement: COMMIT",
        f"{head} [13] lambda_writer@other LOG:  duration: 99.000 ms  statement: COMMIT",
    ]
    assert parse_statements(lines, "bench_1") == {"COMMIT": (9.0, 1), "select 1": (3.5, 1)}


def test_a_sample_that_waits_is_told_by_what_for() -> None:
    wait = "Condition.wait (threading.py:327)"
    main, committer = "thread (1): MainThread", "thread (2): committer"
    shares, _ = parse_samples(
        [
            f"{main};SpeedDaemon._step (lambda_pipeline/speed/consumer.py:98);Committer.wait (x.py:1);{wait} 1",
            f"{main};poll (kafka/consumer/group.py:1);{wait} 2",
            f"{main};poll (kafka/consumer/group.py:1);gzip_decode (kafka/codec.py:1);_GzipReader.read (gzip.py:5) 3",
            f"{main};poll (kafka/consumer/group.py:1);parse (kafka/record.py:1) 4",
            f"{committer};Committer._work (lambda_pipeline/speed/committer.py:94);{wait} 5",
            f"{committer};commit (lambda_pipeline/speed/commit.py:60);Connection.wait (psycopg/connection.py:4) 15",
        ]
    )
    assert shares[main] == {
        "Kafka client: fetch, checksum, parse": 0.4,
        "Kafka client: decompress": 0.3,
        "wait for Kafka": 0.2,
        "wait for the commit before": 0.1,
    }
    assert shares[committer] == {"wait for PostgreSQL": 0.75, "wait for a batch to commit": 0.25}
