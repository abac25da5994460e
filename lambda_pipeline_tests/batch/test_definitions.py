"""What Dagster shows and when it runs it: the exact sets, the city's days, the schedules' partitions."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from lambda_pipeline.automation.jobs import ARCHIVE_JOB_NAME, JOB_NAME, build_job, resources
from lambda_pipeline.automation.schedules import build_schedules
from lambda_pipeline.automation.workers import signing_executor
from lambda_pipeline.batch.archive import build_archive
from lambda_pipeline.batch.assets import ASSET_NAMES, build_assets
from lambda_pipeline.batch.checks import CHANGED_ONLY
from lambda_pipeline.batch.partitions import city_days
from lambda_pipeline.batch.progress import LoggedProgress
from lambda_pipeline.batch.surroundings import SURROUNDINGS
from lambda_pipeline.cli.backfill import BATCH_LAYER as BY_DEFAULT
from lambda_pipeline.cli.backfill import Asset
from lambda_pipeline.resources import (
    ArchiveResource,
    BatchEngineResource,
    DatabaseResource,
    LogResource,
    ServingResource,
)
from lambda_pipeline_tests.cli.commands import SETTINGS, run_python

START = date(2025, 1, 1)
ASSETS = {  # name: what it is computed from
    "tomtom": set(),
    "aqicn": set(),
    "traffic_aqi_data": {"tomtom", "aqicn"},
    "realtime_data": {"traffic_aqi_data"},
    "raw_data": {"traffic_aqi_data"},
    "raw_archive": {"raw_data"},
    "hourly_aggregations": {"raw_data"},
    "daily_aggregations": {"hourly_aggregations"},
    "peak_hours_analysis": {"hourly_aggregations"},
    "peak_hours": {"hourly_aggregations"},
    "served_hourly": {"realtime_data", "hourly_aggregations"},
    "dashboard": {"served_hourly", "daily_aggregations", "peak_hours_analysis", "peak_hours"},
}
BATCH_LAYER = {"raw_data", "hourly_aggregations", "daily_aggregations", "peak_hours_analysis", "peak_hours"}
MATERIALIZED = BATCH_LAYER | {"raw_archive"}
CHECKS = {  # asset: check, and whether it blocks what comes after
    "raw_data": {"raw_keys": True, "raw_values": True, "kafka_retention": False},
    "hourly_aggregations": {
        "hourly_counts": True, "hourly_values": True, "layer_parity": False, "union": False, "completeness": False,
        "gaps": False,
    },
    "daily_aggregations": {"daily_counts": False},
    "peak_hours_analysis": {"analysis_counts": False},
    "peak_hours": {"peak_days": False},
    "raw_archive": {"archive_agrees": False},
}  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """lambda_pipeline.definitions, loaded without anybody's settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("no_env_file"))
        for name in SETTINGS:
            patch.delenv(name, raising=False)
        from lambda_pipeline import definitions

        yield definitions


@cache
def repository_of(timezone: str) -> dg.RepositoryDefinition:
    """What Dagster would load for a city in this zone."""
    job = build_job()
    definitions = dg.Definitions(
        assets=[*SURROUNDINGS, *build_assets(timezone, START)],
        jobs=[job],
        schedules=build_schedules(job, timezone, START),
        resources=resources(),
    )
    return definitions.get_repository_def()


# ---------------------------------------------------------------- the exact sets


def test_assets_are_exactly_these_with_these_dependencies(shown: ModuleType) -> None:
    graph = shown.defs.resolve_asset_graph()
    found = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert found == ASSETS


def test_exactly_the_batch_layer_is_materialized_by_dagster(shown: ModuleType) -> None:
    graph = shown.defs.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.materializable_asset_keys} == MATERIALIZED
    assert set(ASSET_NAMES) == set(BY_DEFAULT) == BATCH_LAYER
    assert set(Asset) == MATERIALIZED


def test_every_asset_has_a_description_a_group_and_kinds(shown: ModuleType) -> None:
    graph = shown.defs.resolve_asset_graph()
    groups = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert len(node.description or "") > 40, key
        assert node.kinds, key
        assert node.owners, key
        groups[key.to_user_string()] = node.group_name
    assert groups == dict.fromkeys(MATERIALIZED, "batch_layer") | {
        "tomtom": "sources",
        "aqicn": "sources",
        "traffic_aqi_data": "log",
        "realtime_data": "speed_layer",
        "served_hourly": "serving_layer",
        "dashboard": "serving_layer",
    }


def test_every_materialized_asset_says_what_its_columns_are_and_come_from(shown: ModuleType) -> None:
    graph = shown.defs.resolve_asset_graph()
    columns: dict[str, set[str]] = {}
    for name in (*ASSET_NAMES, "raw_archive"):  # upstream first
        metadata = graph.get(dg.AssetKey(name)).metadata
        columns[name] = {column.name for column in metadata["dagster/column_schema"].columns}
        assert (graph.get(dg.AssetKey(name)).freshness_policy is None) == (name == "raw_archive"), "there may be none"
        if name == "raw_data":
            continue
        lineage = metadata["dagster/column_lineage"].deps_by_column
        assert lineage.keys() <= columns[name]
        for sources in lineage.values():
            for source in sources:
                assert source.column_name in columns[source.asset_key.path[-1]], source


def test_jobs_schedules_sensors_and_checks_are_exactly_these(shown: ModuleType) -> None:
    repository = shown.defs.get_repository_def()
    jobs = {name for name in repository.job_names if not name.startswith("__")}
    assert jobs == {"batch_layer", "archive", "maintenance"}
    assert {schedule.name: schedule.job_name for schedule in repository.schedule_defs} == {
        "hourly": "batch_layer", "daily": "batch_layer", "archive": "archive", "maintenance": "maintenance",
    }  # fmt: skip
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "stale_hours",
        "speed_layer",
        "run_failures",
        "alerts",
    }
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in repository.sensor_defs)
    found: dict[str, dict[str, bool]] = {}
    graph = shown.defs.resolve_asset_graph()
    for key in graph.asset_check_keys:
        found.setdefault(key.asset_key.path[-1], {})[key.name] = graph.get(key).blocking
    assert found == CHECKS


def test_resources_are_exactly_these(shown: ModuleType) -> None:
    assert {name: type(one) for name, one in shown.defs.resources.items()} == {
        "database": DatabaseResource,
        "log": LogResource,
        "archive": ArchiveResource,
        "batch_engine": BatchEngineResource,
        "serving": ServingResource,
        "progress": LoggedProgress,
    }


def test_resources_keep_no_secret_where_dagster_would_show_it() -> None:
    kinds = (ArchiveResource, BatchEngineResource, DatabaseResource, LogResource, ServingResource)
    fields = {name for kind in kinds for name in kind.model_fields}
    assert fields == {"accept_loss"}


def test_the_job_runs_all_five_assets_in_one_process_which_signs(shown: ModuleType) -> None:
    job = shown.defs.resolve_job_def(JOB_NAME)
    checks = {f"{asset}_checks" for asset in BATCH_LAYER} | {"raw_data_kafka_retention"}
    assert {node.name for node in job.nodes} == set(ASSET_NAMES) | checks
    whatever_is_selected = shown.defs.resolve_implicit_global_asset_job_def()  # what the UI launches
    assert job.executor_def is whatever_is_selected.executor_def is signing_executor


def test_the_archive_is_a_job_of_its_own(shown: ModuleType) -> None:
    job = shown.defs.resolve_job_def(ARCHIVE_JOB_NAME)
    assert {node.name for node in job.nodes} == {"raw_archive", "raw_archive_archive_agrees"}
    assert job.executor_def is signing_executor


def test_schedules_run_from_the_start_in_the_citys_time(shown: ModuleType) -> None:
    for schedule in shown.defs.get_repository_def().schedule_defs:
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
        assert schedule.execution_timezone == "Asia/Jakarta"
        assert schedule.description


def test_dagsters_own_validation_finds_nothing_wrong(tmp_path: Path) -> None:
    result = run_python(
        tmp_path, "-W", "ignore", "-m", "dagster", "definitions", "validate", "-m", "lambda_pipeline.definitions",
        settings={"DAGSTER_DISABLE_TELEMETRY": "1"},
    )  # fmt: skip
    assert result.code == 0, result.text


def test_a_run_worker_does_not_wait_for_the_archives_libraries(tmp_path: Path) -> None:
    program = "import sys, lambda_pipeline.definitions; print({'pyarrow', 'pandas'} & sys.modules.keys())"
    result = run_python(tmp_path, "-W", "ignore", "-c", program)
    assert (result.code, result.out) == (0, "set()\n"), result.text


# ---------------------------------------------------------------- partitions


def test_all_assets_share_the_same_partitions_which_begin_with_history(shown: ModuleType) -> None:
    graph = shown.defs.resolve_asset_graph()
    found = {graph.get(key).partitions_def for key in graph.materializable_asset_keys}
    assert len(found) == 1
    (days,) = found
    assert isinstance(days, dg.DailyPartitionsDefinition)
    assert days.timezone == "Asia/Jakarta"
    assert days.get_first_partition_key() == "2025-01-01"


@pytest.mark.parametrize(
    ("zone", "now", "today"),
    [
        ("Asia/Jakarta", datetime(2025, 6, 1, 16, 59, 59, tzinfo=UTC), "2025-06-01"),
        ("Asia/Jakarta", datetime(2025, 6, 1, 17, 0, 1, tzinfo=UTC), "2025-06-02"),
        ("America/Los_Angeles", datetime(2025, 6, 2, 6, 59, 59, tzinfo=UTC), "2025-06-01"),
        ("America/Los_Angeles", datetime(2025, 6, 2, 7, 0, 1, tzinfo=UTC), "2025-06-02"),
        ("America/Los_Angeles", datetime(2025, 11, 2, 9, 30, tzinfo=UTC), "2025-11-02"),  # 01:30 for the second time
        ("America/Los_Angeles", datetime(2025, 3, 9, 10, 30, tzinfo=UTC), "2025-03-09"),
        ("Asia/Kathmandu", datetime(2025, 6, 1, 18, 14, 59, tzinfo=UTC), "2025-06-01"),
        ("Asia/Kathmandu", datetime(2025, 6, 1, 18, 15, 1, tzinfo=UTC), "2025-06-02"),
        ("America/Havana", datetime(2025, 3, 9, 5, 30, tzinfo=UTC), "2025-03-09"),  # a day without midnight
        ("Africa/Cairo", datetime(2025, 4, 24, 22, 30, tzinfo=UTC), "2025-04-25"),
    ],
)
def test_partitions_are_every_city_day_up_to_and_with_today(zone: str, now: datetime, today: str) -> None:
    keys = city_days(zone, START).get_partition_keys(current_time=now)
    last = date.fromisoformat(today)
    assert keys == [(START + timedelta(days=n)).isoformat() for n in range((last - START).days + 1)]


def test_a_backfill_of_many_days_is_one_run() -> None:
    for asset in (*build_assets("Asia/Jakarta", START), build_archive("Asia/Jakarta", START)):
        assert asset.backfill_policy == dg.BackfillPolicy.single_run()


# ---------------------------------------------------------------- schedules


def requests(zone: str, name: str, at: datetime) -> Sequence[dg.RunRequest]:
    """The runs that a tick asks for; Dagster hands it its time in the schedule's zone."""
    schedule = repository_of(zone).get_schedule_def(name)
    context = dg.build_schedule_context(
        scheduled_execution_time=at.astimezone(ZoneInfo(zone)), repository_def=repository_of(zone)
    )
    return schedule.evaluate_tick(context).run_requests or []


def ticks(zone: str, name: str, start: datetime, end: datetime) -> list[datetime]:
    """When Dagster would evaluate a schedule within [start, end)."""
    schedule = repository_of(zone).get_schedule_def(name)
    found = schedule_execution_time_iterator(
        start.timestamp(), str(schedule.cron_schedule), schedule.execution_timezone
    )
    return list(takewhile(lambda tick: tick < end, found))


@pytest.mark.parametrize("zone", ["Asia/Jakarta", "America/Los_Angeles", "Asia/Kathmandu", "Europe/Berlin"])
@pytest.mark.parametrize(
    ("name", "city_time", "days"),
    [
        ("hourly", "2025-06-02T23:05", ["2025-06-02"]),
        ("hourly", "2025-06-02T12:05", ["2025-06-02"]),
        ("hourly", "2025-06-03T00:05", ["2025-06-03", "2025-06-02"]),
        ("hourly", "2025-06-03T01:05", ["2025-06-03"]),
        ("hourly", "2025-01-01T01:05", ["2025-01-01"]),
        ("daily", "2025-06-03T02:00", ["2025-06-02"]),
        ("daily", "2025-03-01T02:00", ["2025-02-28"]),
        ("hourly", "2025-01-01T00:05", ["2025-01-01"]),  # there is no day before the first
        ("daily", "2025-01-01T02:00", []),
    ],
)
def test_ticks_ask_for_these_city_days(zone: str, name: str, city_time: str, days: list[str]) -> None:
    at = datetime.fromisoformat(city_time).replace(tzinfo=ZoneInfo(zone))
    assert [request.partition_key for request in requests(zone, name, at)] == days
    known = city_days(zone, START).get_partition_keys(current_time=at)
    assert set(days) <= set(known)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("America/Los_Angeles", date(2025, 11, 2), 25), ("America/Los_Angeles", date(2025, 3, 9), 23),
     ("Asia/Kathmandu", date(2025, 6, 2), 24)],
)  # fmt: skip
def test_every_hour_of_a_day_has_its_tick_at_five_past_and_its_own_run(zone: str, day: date, hours: int) -> None:
    midnight = datetime.combine(day, datetime.min.time(), ZoneInfo(zone)).astimezone(UTC)
    found = ticks(zone, "hourly", midnight, midnight + timedelta(hours=hours))
    assert [tick.astimezone(UTC) for tick in found] == [
        midnight + timedelta(hours=hour, minutes=5) for hour in range(hours)
    ]
    runs = [request for tick in found for request in requests(zone, "hourly", tick)]
    assert [run.partition_key for run in runs].count(day.isoformat()) == hours
    assert len({run.run_key for run in runs}) == len(runs) == hours + 1


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Jakarta", "America/Havana"])
def test_the_daily_schedule_asks_for_every_day_once_also_when_clocks_change(zone: str) -> None:
    start = datetime(2025, 3, 1, 1, tzinfo=ZoneInfo(zone))
    found = ticks(zone, "daily", start, start + timedelta(days=30))
    days = [request.partition_key for tick in found for request in requests(zone, "daily", tick)]
    assert days == [(date(2025, 2, 28) + timedelta(days=n)).isoformat() for n in range(30)]


def test_hourly_runs_leave_the_open_hour_alone_and_publish_only_what_is_stale() -> None:
    at = datetime(2025, 6, 3, 0, 5, tzinfo=ZoneInfo("Asia/Jakarta"))
    for request in requests("Asia/Jakarta", "hourly", at):
        config = {"everything": False, "closed_only": True}
        assert request.run_config == {"ops": {"hourly_aggregations": {"config": config}}}
        assert request.tags.items() >= CHANGED_ONLY.items()


def test_daily_runs_look_at_the_day_whole() -> None:
    at = datetime(2025, 6, 3, 2, tzinfo=ZoneInfo("Asia/Jakarta"))
    found = list(requests("Asia/Jakarta", "daily", at))
    assert found
    assert not any(CHANGED_ONLY.keys() & request.tags.keys() for request in found)
