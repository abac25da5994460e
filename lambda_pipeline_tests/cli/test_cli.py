"""The command line: exit codes, sentences instead of tracebacks, help, and no secret on the screen."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from lambda_pipeline.cli import app
from lambda_pipeline.local.home import free_port
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.cli.commands import Result, run, run_python
from lambda_pipeline_tests.cli.in_process import Call
from lambda_pipeline_tests.servers import Database

SECRET = "verysecret"
DAYS = ("--from", "2025-03-01", "--to", "2025-03-02")
COMMANDS = {
    "demo", "up", "dashboard", "ingest", "speed", "simulator", "backfill", "import", "export", "status", "db upgrade",
    "db dump", "db restore", "db psql", "dead-letters list", "dead-letters show", "dead-letters retry",
}  # fmt: skip


def assert_user_error(result: Result, *phrases: str) -> None:
    """Exit code 1, one sentence that says so, and no traceback."""
    assert result.code == 1, result.text
    assert result.err.lstrip().startswith("error: "), result.err
    assert "Traceback" not in result.text
    assert SECRET not in result.text
    assert len(result.err.strip().splitlines()) <= 3
    for phrase in phrases:
        assert phrase in result.err


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The commands under one, by the words that call them."""
    commands = getattr(command, "commands", None)
    if commands is None:
        yield path
        return
    for name, inner in commands.items():
        yield from leaves(inner, (*path, name))


# ---------------------------------------------------------------- help


def test_commands_are_exactly_these() -> None:
    assert {" ".join(path) for path in leaves(typer.main.get_command(app))} == COMMANDS


def test_every_command_and_every_option_has_help(call: Call) -> None:
    for words in sorted(COMMANDS):
        result = call(*words.split(), "--help")
        assert result.code == 0
        assert f"Usage: lambda-pipeline {words}" in result.out
        command: Any = typer.main.get_command(app)
        for word in words.split():
            command = command.commands[word]
        assert len(command.help or "") > 40, words
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{words} {parameter.name}"


def test_help_names_every_command_that_is_not_hidden(call: Call) -> None:
    for asked in (("--help",), ("-h",)):
        result = call(*asked)
        assert result.code == 0
        for name in {words.split()[0] for words in COMMANDS} - {"simulator"}:
            assert f" {name} " in result.out
        assert " simulator " not in result.out


def test_version_is_the_packages(call: Call) -> None:
    from lambda_pipeline import __version__

    assert call("--version").out == f"lambda-pipeline {__version__}\n"


def test_help_imports_neither_dagster_nor_pandas_nor_any_other_heavy_library(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from lambda_pipeline.cli import app\n"
        "for words in (['--help'], ['backfill', '--help'], ['export', '--help'], ['db', '--help']):\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    result = run_python(tmp_path, "-c", program)
    assert result.code == 0, result.text
    heavy = {
        "dagster", "pandas", "pyarrow", "numpy", "sqlalchemy", "psycopg", "kafka", "streamlit", "plotly", "requests",
        "alembic", "pydantic_settings", "msgspec", "psutil", "jgo",
    }  # fmt: skip
    assert set(result.out.split()) & heavy == set()


# ---------------------------------------------------------------- wrong usage: 2


@pytest.mark.parametrize(
    "words",
    [
        "nonsense", "--nonsense", "", "db", "db nonsense", "backfill", "backfill --from 2025-03-01",
        "backfill --from yesterday --to 2025-03-02", "backfill --from 2025-02-30 --to 2025-03-02",
        "backfill --from 2025-03-02 --to 2025-03-01", "backfill --from 2025-03-01 --to 2025-03-01",
        "backfill --from 2025-03-01 --to 2025-03-02T06:00", "backfill --from 2025-03-01 --to 2025-03-02 surplus",
        "import", "import a.csv b.csv", "export", "export nonsense", "export hourly", "export hourly --from 2025-03-01",
        "export hourly --from yesterday --to 2025-03-02", "export hourly --from 2025-03-01 --to 2025-03-01T25:00",
        "export daily --from 2025-03-02 --to 2025-03-01", "export raw --from 2025-03-02 --to 2025-03-02",
        "export hourly --from 2025-03-01 --to 2025-03-02 --format xlsx", "status --xml", "demo --seed many",
        "speed --fast", "simulator",
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2_and_says_what_is_wrong(call: Call, tmp_path: Path, words: str) -> None:
    result = call(*words.split())
    assert result.code == 2, result.text
    assert "Usage:" in result.text
    assert "Traceback" not in result.text
    assert not list(tmp_path.iterdir())  # nothing was started


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        ("backfill --from yesterday --to 2025-03-02", "'yesterday' is not a day; write 2025-01-31"),
        ("backfill --from 2025-03-02 --to 2025-03-01", "2025-03-01 is not after 2025-03-02"),
        ("export hourly --from 2025-03-01T06:00 --to 2025-03-01", "2025-03-01 is not after 2025-03-01T06:00"),
        ("export hourly --from noon --to 2025-03-01", "'noon' is not a date or time"),
        ("export hourly", "give both --from and --to"),
    ],
)
def test_a_bad_range_is_explained(call: Call, words: str, phrase: str) -> None:
    assert phrase in call(*words.split()).err


# ---------------------------------------------------------------- a user's errors: 1


def test_a_failed_command_in_its_own_process_ends_with_1_and_wrong_usage_with_2(tmp_path: Path) -> None:
    failed = run(tmp_path, "up")
    assert_user_error(failed, "TOMTOM_API_KEY")
    assert run(tmp_path, "backfill").code == 2
    assert run(tmp_path, "--version").code == 0


@pytest.mark.parametrize("command", ["up", "ingest"])
@pytest.mark.parametrize(
    ("keys", "missing"),
    [
        ({}, {"TOMTOM_API_KEY", "AQICN_TOKEN"}),
        ({"TOMTOM_API_KEY": "", "AQICN_TOKEN": ""}, {"TOMTOM_API_KEY", "AQICN_TOKEN"}),
        ({"TOMTOM_API_KEY": SECRET}, {"AQICN_TOKEN"}),
        ({"AQICN_TOKEN": SECRET}, {"TOMTOM_API_KEY"}),
    ],
)
def test_missing_keys_are_named_with_where_to_get_them_and_that_demo_needs_none(
    call: Call, tmp_path: Path, command: str, keys: dict[str, str], missing: set[str]
) -> None:
    result = call(command, **keys)
    assert result.code == 1
    said = result.err[result.err.index("error: ") :]
    assert {name for name in ("TOMTOM_API_KEY", "AQICN_TOKEN") if name in said} == missing
    assert ("developer.tomtom.com" in said) == ("TOMTOM_API_KEY" in missing)
    assert ("aqicn.org/data-platform/token" in said) == ("AQICN_TOKEN" in missing)
    assert "`lambda-pipeline demo` needs no keys" in said
    assert SECRET not in result.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "phrases"),
    [
        ({"LAMBDA_CITY": "atlantis"}, ("no shipped city 'atlantis'", "jakarta")),
        ({"LAMBDA_CITY": "atlantis.toml"}, ("no city catalogue at", "LAMBDA_CITY")),
        ({"LAMBDA_HISTORY_START": "yesterday"}, ("LAMBDA_HISTORY_START", ".env.example")),
        ({"LAMBDA_LOG_LEVEL": "loud"}, ("LAMBDA_LOG_LEVEL",)),
        ({"LAMBDA_DASHBOARD_PORT": "0"}, ("LAMBDA_DASHBOARD_PORT",)),
        ({"LAMBDA_POLL_INTERVAL": "often", "LAMBDA_REFRESH": "-1"}, ("LAMBDA_POLL_INTERVAL", "LAMBDA_REFRESH")),
        ({"DATABASE_URL": SECRET}, ("DATABASE_URL", "postgresql://user:password@host:5432/name")),
        ({"DATABASE_URL": f"mysql://u:{SECRET}@h/db"}, ("DATABASE_URL", "PostgreSQL")),
        ({"DATABASE_URL": f"postgresql://u:{SECRET}@h:port/db"}, ("DATABASE_URL", "%40")),
        ({"DATABASE_URL": f"postgresql://u:{SECRET}@{SECRET}@h/db"}, ("DATABASE_URL", "%40")),
        ({"LAMBDA_READER_DATABASE_URL": f"postgresql://u:{SECRET}/a@h/db"}, ("LAMBDA_READER_DATABASE_URL", "%2F")),
        ({"LAMBDA_DAGSTER_DATABASE_URL": f"sqlite:///{SECRET}"}, ("LAMBDA_DAGSTER_DATABASE_URL",)),
    ],
)
def test_a_wrong_setting_is_named(call: Call, settings: dict[str, str], phrases: tuple[str, ...]) -> None:
    assert_user_error(call("export", "hourly", *DAYS, **settings), *phrases)


def test_a_broken_catalogue_is_named_with_the_entry(call: Call, tmp_path: Path) -> None:
    (tmp_path / "city.toml").write_text('name = "X"\ntimezone = "Mars/Olympus"\n', encoding="utf-8")
    assert_user_error(call("export", "hourly", *DAYS, LAMBDA_CITY="city.toml"), "city.toml", "Mars/Olympus")


@pytest.mark.parametrize(
    "command", [("dead-letters", "list"), ("export", "hourly", *DAYS), ("import", "data.csv"), ("db", "upgrade")]
)
def test_a_database_that_is_away_is_said_plainly(call: Call, command: tuple[str, ...]) -> None:
    address = f"postgresql://somebody:{SECRET}@127.0.0.1:{free_port()}/lambda"
    assert_user_error(call(*command, DATABASE_URL=address), "PostgreSQL is not answering", "DATABASE_URL")


def test_a_wrong_option_in_the_address_is_said_plainly(call: Call) -> None:
    address = f"postgresql://somebody:{SECRET}@127.0.0.1/lambda?colour=blue"
    assert_user_error(call("status", DATABASE_URL=address), "colour", "DATABASE_URL")


def test_a_backfill_before_the_start_of_history_names_the_setting(call: Call, tmp_path: Path) -> None:
    result = call("backfill", "--from", "2024-12-31", "--to", "2025-01-02")
    assert_user_error(result, "2024-12-31 is before LAMBDA_HISTORY_START (2025-01-01)", "lower the setting")
    assert not list(tmp_path.iterdir())


def test_a_data_folder_that_cannot_be_made_is_named(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_user_error(call("status", LAMBDA_HOME="file/home"), "file/home", "LAMBDA_HOME")


def test_a_data_folder_that_may_not_be_written_is_named(call: Call) -> None:
    closed = "/proc/lambda"  # where not even root may make a folder
    assert_user_error(call("status", LAMBDA_HOME=closed), closed, "LAMBDA_HOME")


def test_a_daemons_log_begins_with_its_settings_without_their_secrets(call: Call) -> None:
    address = f"postgresql://somebody:{SECRET}@127.0.0.1/lambda"
    settings = dict.fromkeys(
        ("DATABASE_URL", "LAMBDA_OWNER_DATABASE_URL", "LAMBDA_READER_DATABASE_URL", "LAMBDA_DAGSTER_DATABASE_URL"),
        address,
    )
    result = call("ingest", **settings, TOMTOM_API_KEY=SECRET, KAFKA_TOPIC="mine")
    assert result.code == 1  # the other key is missing
    assert "settings: " in result.err
    assert "KAFKA_TOPIC=mine" in result.err
    for name in (*settings, "TOMTOM_API_KEY"):
        assert f"{name}=***" in result.err
    assert SECRET not in result.text


# ---------------------------------------------------------------- against a real database


@pytest.fixture
def external(database: Database, tmp_path: Path) -> dict[str, str]:
    """The settings of a deployment whose database is somewhere else."""
    return {
        "DATABASE_URL": database.url(),
        "LAMBDA_OWNER_DATABASE_URL": database.url("postgres"),
        "LAMBDA_READER_DATABASE_URL": database.url("lambda_reader"),
        "LAMBDA_HOME": str(tmp_path / "home"),
    }


@pytest.mark.integration
def test_status_as_json_is_what_programs_can_read(call: Call, external: dict[str, str]) -> None:
    result = call("status", "--json", **external)
    assert result.code == 2, "no Kafka was ever started"
    found = json.loads(result.out)
    empty = {"newest_observation": None, "age_seconds": None, "updated_at": None, "observations": 0, "hours": 0}
    expected = {
        "health": "unknown",
        "running": None,
        "city": "Jakarta",
        "timezone": "Asia/Jakarta",
        "layers": [{"layer": "speed", **empty}, {"layer": "batch", **empty}],
        "daemons": [],
        "dagster": None,
        "lag": None,
        "published_hours": 0,
        "stale_hours": 0,
        "waiting_days": [],
        "dead_letters": {"open": 0, "open_of_last_24_hours": 0, "retried": 0},
        "needs_attention": [],
    }
    assert {name: found[name] for name in expected} == expected
    assert "Jakarta (Asia/Jakarta)" in call("status", **external).out


@pytest.mark.integration
def test_status_says_first_what_keeps_failing(call: Call, external: dict[str, str], database: Database) -> None:
    with transaction(database.owner) as connection:
        for day, attempts in (("2025-06-02", 6), ("2025-06-03", 4)):
            connection.exec_driver_sql(
                "insert into catch_up values (%s, 3, 'p', '2025-06-04T00:00Z', '2025-06-04T00:00Z', %s, now(), 'key')",
                (day, attempts),
            )
    text = call("status", **external).out
    assert "! needs attention: 2025-06-02 is stale since 2025-06-04T07:00:00+07:00, and 6 runs did not" in text
    assert "2025-06-03" not in text
    (found,) = json.loads(call("status", "--json", **external).out)["needs_attention"]
    assert (found["day"], found["attempts"], found["stale_hours"], found["run_key"]) == ("2025-06-02", 6, 3, "key")


@pytest.mark.integration
def test_import_reports_rejected_lines_on_stderr_and_succeeds(
    call: Call, external: dict[str, str], tmp_path: Path
) -> None:
    lines = ["timestamp,location,aqi_value", "2025-03-01T06:00,Cinere,50", "2025-03-01T06:05,Cinere,many"]
    (tmp_path / "data.csv").write_text("\n".join(lines), encoding="utf-8")
    result = call("import", "data.csv", **external)
    assert result.code == 0, result.text
    assert "2 rows read: 1 new, 0 known, 1 rejected." in result.out
    assert "lambda-pipeline backfill --from 2025-03-01 --to 2025-03-02" in result.out
    assert "line 3: 'many' is not a number" in result.err
    assert "data.csv.rejects.csv" in result.err
    status = json.loads(call("status", "--json", **external).out)
    assert status["stale_hours"] == 1


@pytest.mark.integration
def test_files_that_cannot_be_imported_are_exit_code_1(call: Call, external: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "unknown.csv").write_text("timestamp,location\n2025-03-01,Atlantis\n", encoding="utf-8")
    assert_user_error(call("import", "unknown.csv", **external), "'Atlantis'", "--add-locations")
    assert_user_error(call("import", "nothing.csv", **external), "there is no file nothing.csv")


@pytest.mark.integration
def test_exports_of_nothing_have_the_columns_and_succeed(call: Call, external: dict[str, str]) -> None:
    first = {"conditions": "location,", "hourly": "hour_start,", "daily": "date,", "peak-hours": "hour_start,",
             "raw": "timestamp,"}  # fmt: skip
    for what, start in first.items():
        result = call("export", what, *DAYS, **external)
        assert result.code == 0, result.text
        assert result.out.startswith(start)
        assert call("export", what, *DAYS, "--format", "json", **external).code == 0
        assert call("export", what, *DAYS, "--format", "parquet", "-o", f"{what}.parquet", **external).code == 0


@pytest.mark.integration
def test_an_export_that_cannot_be_written_is_named_and_leaves_nothing(
    call: Call, external: dict[str, str], tmp_path: Path
) -> None:
    assert_user_error(call("export", "conditions", "-o", "no/folder.csv", **external), "no/folder.csv")
    (tmp_path / "folder").mkdir()
    assert_user_error(call("export", "conditions", "-o", "folder", **external), "folder cannot be written")
    assert not list(tmp_path.glob(".*.partial"))


@pytest.mark.integration
def test_upgrading_twice_changes_nothing(call: Call, external: dict[str, str]) -> None:
    for _ in range(2):
        result = call("db", "upgrade", **external)
        assert result.code == 0, result.text
        assert "The schema is up to date" in result.out


def test_the_embedded_server_has_no_logins(call: Call, tmp_path: Path) -> None:
    assert_user_error(call("db", "upgrade", "--logins"), "has no passwords", "DATABASE_URL")
    assert not (tmp_path / ".lambda").exists()


@pytest.mark.integration
def test_logins_need_passwords(call: Call, external: dict[str, str]) -> None:
    assert_user_error(call("db", "upgrade", "--logins", **external), "DATABASE_URL names no user, password")


@pytest.mark.integration
def test_an_empty_database_is_named_as_such_with_the_command_that_mends_it(call: Call, empty_database_url: str) -> None:
    result = call("status", DATABASE_URL=empty_database_url)
    assert_user_error(result, "the database's schema is missing", "lambda-pipeline db upgrade")


@pytest.mark.integration
def test_a_database_of_another_city_is_refused(call: Call, external: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "city.toml").write_text('name = "Bogor"\ntimezone = "Asia/Jakarta"\n', encoding="utf-8")
    result = call("status", **external, LAMBDA_CITY="city.toml")
    assert_user_error(result, "belongs to Jakarta (Asia/Jakarta), not to Bogor", "LAMBDA_CITY")


@pytest.mark.integration
def test_a_user_without_rights_may_read_and_is_told_plainly_that_it_may_not_write(
    call: Call, external: dict[str, str], database: Database, tmp_path: Path
) -> None:
    as_reader = {**external, "DATABASE_URL": database.url("lambda_reader")}
    assert call("dead-letters", "list", **as_reader).code == 0
    file = tmp_path / "one.csv"
    file.write_text("timestamp,location,aqi_value\n2025-06-01T06:00:00+07:00,Cinere,50\n")
    result = call("import", str(file), **as_reader)
    assert_user_error(result, "permission denied", "DATABASE_URL")


@pytest.mark.integration
def test_a_backfill_names_what_dagster_lacks(call: Call, external: dict[str, str]) -> None:
    settings = {**external, "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
    assert_user_error(call("backfill", *DAYS, **settings), "LAMBDA_DAGSTER_DATABASE_URL is not set")


@pytest.mark.integration
def test_psql_runs_as_the_reader_and_hands_its_exit_code_on(tmp_path: Path, external: dict[str, str]) -> None:
    arguments = ("db", "psql", "--", "-At", "-v", "ON_ERROR_STOP=1", "-c")
    result = run(tmp_path, *arguments, "select current_user", settings=external)
    assert (result.code, result.out) == (0, "lambda_reader\n")
    assert run(tmp_path, *arguments, "delete from raw_data", settings=external).code != 0
