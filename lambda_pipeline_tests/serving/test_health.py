"""What counts as wrong, and what somebody is told to do about it."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from lambda_pipeline.serving.health import find_problems, size_text, span_text

GIB = 1 << 30


def daemon(role: str, state: str = "alive", **detail: Any) -> dict[str, Any]:
    return {
        "role": role, "host": "one", "pid": 7, "version": "1", "state": state, "detail": detail,
        "started_at": "2025-06-02T10:00:00+07:00", "seen_at": "2025-06-02T11:00:00+07:00", "seen_seconds_ago": 1.0,
    }  # fmt: skip


HEALTHY: dict[str, Any] = {
    "servers": {
        name: {"answers": True, "error": None, "action": None} for name in ("postgresql", "kafka", "dagster")
    },
    "daemons": [
        daemon("ingest", quotas={"tomtom": {"used": 9, "limit": 2500}, "aqicn": {"used": 9, "limit": None}},
               last_hour={"tomtom": {"ok": 9, "timeout": 1}, "poll": {"failed": 4}, "missed": {"late": 3}},
               refused=0, spool={"records": 2, "bytes": 100, "max_bytes": 1000}),
        daemon("speed"),
    ],
    "dagster": [{"name": "sensor", "silent_seconds": 12.0, "error": None}],
    "lag": {"speed_records": 5, "batch_records": 500, "dropped": [], "soon_dropped": [], "retention_hours": 168.0},
    "offsets_moved_seconds_ago": 0.4,
    "layers": [
        {"layer": "speed", "age_seconds": 300.0, "newest_observation": "2025-06-02T10:59:00+07:00"},
        {"layer": "batch", "age_seconds": 5000.0, "newest_observation": "2025-06-02T09:59:00+07:00"},
    ],
    "poll_interval_seconds": 360,
    "waiting_days": [
        {"day": "2025-06-02", "stale_hours": 1, "since": "2025-06-02T10:00:00+07:00", "waiting_seconds": 900.0}
    ],
    "needs_attention": [],
    "dead_letters": {"open": 12, "open_of_last_24_hours": 0, "retried": 3},
    "disk": {"folder": "/home", "free_bytes": 50 * GIB, "total_bytes": 100 * GIB},
}  # fmt: skip


def spoiled(change: Callable[[dict[str, Any]], object]) -> list[str]:
    """What is said to be wrong after a change to a healthy report."""
    report = deepcopy(HEALTHY)
    change(report)
    problems = find_problems(report)
    for problem in problems:
        assert problem.text.endswith("."), problem
        assert problem.action, problem
    return [problem.about for problem in problems]


def test_a_healthy_report_has_no_problems() -> None:
    assert find_problems(HEALTHY) == []


@pytest.mark.parametrize(
    ("change", "about"),
    [
        (lambda r: r["daemons"].pop(), "speed_away"),
        (lambda r: r["daemons"].pop(0), "ingest_away"),
        (lambda r: r["daemons"][1].update(state="silent"), "speed_away"),
        (lambda r: r["daemons"][1].update(state="stopped"), "speed_away"),
        (lambda r: r["dagster"].clear(), "dagster_daemon_away"),
        (lambda r: r["dagster"][0].update(silent_seconds=200.0), "dagster_daemon_away"),
        (lambda r: r["dagster"][0].update(error="no code"), "dagster_daemon_error"),
        (lambda r: r.update(offsets_moved_seconds_ago=90.0), "speed_stands_still"),
        (lambda r: r.update(offsets_moved_seconds_ago=None), "speed_stands_still"),
        (lambda r: r["lag"]["dropped"].append("t[0]@5"), "log_gap"),
        (lambda r: r["lag"]["soon_dropped"].append("t[0]@5"), "log_retention"),
        (lambda r: r["layers"][0].update(age_seconds=1100.0), "stale_data"),
        (lambda r: r["waiting_days"][0].update(waiting_seconds=7300.0), "batch_behind"),
        (
            lambda r: r["needs_attention"].append(
                {"day": "2025-06-01", "since": "2025-06-02T01:00:00+07:00", "attempts": 5, "run_key": "k"}
            ),
            "failing_day",
        ),
        (lambda r: r["daemons"][0]["detail"]["last_hour"].update(aqicn={"key": 3}), "source_silent"),
        (lambda r: r["daemons"][0]["detail"]["quotas"]["tomtom"].update(used=2500), "quota_used"),
        (lambda r: r["daemons"][0]["detail"]["spool"].update(bytes=500), "spool_filling"),
        (lambda r: r["daemons"][0]["detail"].update(refused=1), "refused_by_kafka"),
        (lambda r: r["dead_letters"].update(open_of_last_24_hours=1), "dead_letters"),
        (lambda r: r["disk"].update(free_bytes=4 * GIB), "disk_full"),
        (lambda r: r["servers"]["kafka"].update(answers=False, error="Away.", action="Start it."), "kafka_away"),
    ],
)
def test_each_thing_that_is_wrong_is_named_once(change: Callable[[dict[str, Any]], object], about: str) -> None:
    assert spoiled(change) == [about]


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["daemons"].append(daemon("speed", "silent")),  # killed, and another took its place
        lambda r: r["daemons"].append(daemon("speed", "stopped")),
        lambda r: r.update(dagster=None),  # where its storage is, is not known here
        lambda r: (r["lag"].update(speed_records=0), r.update(offsets_moved_seconds_ago=9e5)),  # a quiet night
        lambda r: r.update(lag=None),
        lambda r: r["layers"][0].update(age_seconds=None),  # a fresh database
        lambda r: (r.update(poll_interval_seconds=3600), r["layers"][0].update(age_seconds=10_000.0)),
        lambda r: r["daemons"][0]["detail"]["last_hour"].update(aqicn={"timeout": 2}),  # just started
        lambda r: r["disk"].update(total_bytes=20_000 * GIB),
        lambda r: r.update(disk=None),
        lambda r: r["daemons"][0]["detail"].clear(),
    ],
)
def test_what_need_not_mean_anything_is_no_problem(change: Callable[[dict[str, Any]], object]) -> None:
    assert spoiled(change) == []


def test_what_keeps_from_knowing_comes_first_and_the_rest_is_told_all_the_same() -> None:
    def change(report: dict[str, Any]) -> None:
        report["daemons"].pop()
        report["servers"]["kafka"].update(answers=False, error="Kafka is away.", action="Start it.")
        report["disk"].update(free_bytes=0)

    assert spoiled(change) == ["kafka_away", "speed_away", "disk_full"]


def test_without_the_database_nothing_is_made_up() -> None:
    report = {
        **HEALTHY, "daemons": [], "dagster": None, "lag": None, "dead_letters": None,
        "servers": {"postgresql": {"answers": False, "error": "Away.", "action": "Start it."}},
    }  # fmt: skip
    assert [problem.about for problem in find_problems(report)] == ["postgresql_away"]


def test_a_disk_of_another_machine_is_named_with_the_machine() -> None:
    report = deepcopy(HEALTHY)
    report["daemons"][0]["detail"]["disk"] = {"folder": "/data", "free_bytes": 0, "total_bytes": GIB}
    (problem,) = find_problems(report)
    assert problem.text == "only 0 bytes of 1.0 GiB are free at /data on one."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 seconds"), (119, "119 seconds"), (120, "2 minutes"), (7200, "2 hours"), (2e5, "2 days")],
)
def test_spans_are_said_in_one_unit(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (2 << 40, "2.0 TiB")],
)
def test_sizes_are_said_in_one_unit(number: int, text: str) -> None:
    assert size_text(number) == text
