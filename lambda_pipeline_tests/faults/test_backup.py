"""Dump, lose everything, restore: the platform goes on from Kafka, and every observation is served once."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from lambda_pipeline.local.home import Home
from lambda_pipeline.local.postgres import EmbeddedPostgres, programs_folder
from lambda_pipeline.storage.engine import make_engine
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.cli.commands import REPOSITORY, SETTINGS, run
from lambda_pipeline_tests.faults.conftest import MakePlatform
from lambda_pipeline_tests.faults.load import Load
from lambda_pipeline_tests.faults.stage import SPEED, Platform, assert_served_is_produced, closing

pytestmark = [pytest.mark.faults, pytest.mark.integration, pytest.mark.timeout(600)]
_TOTALS = (
    "select (select count(*) from served_observations) as served, (select count(*) from published_hours) as published"
)


@contextmanager
def fresh_server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that knows none of our roles."""
    with tempfile.TemporaryDirectory(prefix="lambda-backup-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Home(Path(folder)))
        server.start()
        try:
            yield server
        finally:
            server.stop(force=True)


def on_server(platform: Platform, postgres: EmbeddedPostgres, database: str, dagster: str) -> dict[str, str]:
    """The environment of the platform's processes on a server that may be another one."""
    return platform.environment | {
        "DATABASE_URL": postgres.url(database, "lambda_writer"),
        "LAMBDA_OWNER_DATABASE_URL": postgres.url(database),
        "LAMBDA_READER_DATABASE_URL": postgres.url(database, "lambda_reader"),
        "LAMBDA_DAGSTER_DATABASE_URL": postgres.url(dagster).replace("postgresql://", "postgresql+psycopg2://", 1),
    }


def database_of(url: str) -> str:
    """The database that an address names."""
    return str(conninfo_to_dict(f"postgresql://{url.partition('://')[2]}")["dbname"])


def work_on(platform: Platform, load: Load) -> None:
    """Both layers get something to do, and do it."""
    platform.progresses(1_500)
    platform.run(*platform.backfill())
    load.send(1_000)
    platform.catches_up()


def go_on_from(platform: Platform, environment: Mapping[str, str]) -> None:
    """The same platform, its databases where these settings say."""
    platform.engine.dispose()
    platform.environment = dict(environment)
    platform.url = environment["DATABASE_URL"]
    platform.engine = make_engine(platform.url, "test")


def assert_it_goes_on(platform: Platform, load: Load, before: object, runs: int) -> None:
    """What the dump held is there; what came after it is read from the log; then everything is served once."""
    restored = platform.rows(_TOTALS)[0]
    assert restored == before
    assert runs_of(platform) == runs
    load.send(500)
    platform.start(SPEED)
    seconds = platform.catches_up()
    assert_served_is_produced(platform, load)
    platform.run(*platform.backfill())
    assert_served_is_produced(platform, load)
    assert len(load.expected().observations) > restored.served
    platform.recovered("everything lost and restored, until the speed layer had read the rest again", seconds)


def runs_of(platform: Platform) -> int:
    """Runs that Dagster's database knows."""
    url = platform.environment["LAMBDA_DAGSTER_DATABASE_URL"].replace("+psycopg2", "", 1)
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from runs").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.full
def test_on_a_new_server_by_our_own_commands(platform: Platform, shared: tuple[EmbeddedPostgres, object]) -> None:
    dagster = database_of(platform.dagster_url)
    platform.environment = on_server(platform, shared[0], database_of(platform.url), dagster)
    speed = platform.start(SPEED)
    with platform.load() as load:
        work_on(platform, load)
        speed.kill()  # so that the totals are the dump's
        before, runs = platform.rows(_TOTALS)[0], runs_of(platform)
        said = platform.run("db", "dump", "backup")
        platform.start(SPEED)
        work_on(platform, load)
    assert re.findall(r"The database (\w+) was dumped", said) == [database_of(platform.url), dagster]
    assert platform.rows(_TOTALS)[0] != before
    platform.kill_all()
    with fresh_server() as server:
        with psycopg.connect(server.url(), autocommit=True) as admin:
            for name in ("city", "runs"):
                admin.execute(f"create database {name}")  # type: ignore[call-overload]
        go_on_from(platform, on_server(platform, server, "city", "runs"))
        said = platform.run("db", "restore", "backup")
        assert re.findall(r"The database (\w+) was restored", said) == ["city", "runs"]
        with psycopg.connect(server.url(), autocommit=True) as admin:  # as `db upgrade --logins`, without passwords
            admin.execute("alter role lambda_writer login")
        platform.run("db", "upgrade")
        assert_it_goes_on(platform, load, before, runs)
        again = platform.start("db", "restore", "backup")
        assert again.wait(60) == 1
        assert again.log.startswith("error: The database city is not empty; it holds "), again.log
        assert "Nothing was changed" in again.log
        platform.close()


def documented(section: str) -> list[str]:
    """The commands for containers in a section of the operator's page, as they are there."""
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    text = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^\$ (.*docker compose .*|mkdir .*)$", text, re.MULTILINE)


def follow(commands: list[str], server: EmbeddedPostgres, folder: Path) -> None:
    """Run commands for the container of PostgreSQL; what they say to Compose itself is not tried here."""
    environment = {"PATH": f"{programs_folder()}:{os.environ['PATH']}", "PGHOST": str(server.socket_folder)}
    for command in commands:
        here = command.replace("docker compose exec -T postgres ", "")
        if "docker compose" in here:
            continue
        command_line = ["bash", "-c", here]
        done = subprocess.run(command_line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_on_the_same_server_by_the_documented_commands(kafka: KafkaConnection, make_platform: MakePlatform) -> None:
    with fresh_server() as server, closing(make_platform(server, kafka, ("lambda", "dagster"))) as platform:
        speed = platform.start(SPEED)
        with platform.load() as load:
            work_on(platform, load)
            speed.kill()
            before, runs = platform.rows(_TOTALS)[0], runs_of(platform)
            backup = documented("Backup")
            assert sum("pg_dump" in command for command in backup) == 2
            follow(backup, server, platform.folder)
            speed = platform.start(SPEED)
            work_on(platform, load)
        speed.freeze()  # one that slept through it all, and believes to be further than the restored offsets say
        platform.engine.dispose()
        follow(documented("Restore"), server, platform.folder)
        speed.thaw()
        assert_it_goes_on(platform, load, before, runs)


def test_a_backup_is_written_once_and_what_is_none_is_refused(
    platform: Platform, shared: tuple[EmbeddedPostgres, object], open_folder: Path
) -> None:
    environment = on_server(platform, shared[0], database_of(platform.url), database_of(platform.dagster_url))
    settings = {name: environment[name] for name in SETTINGS if name in environment}
    (open_folder / "empty").mkdir()
    missing = run(open_folder, "db", "restore", "empty", settings=settings)
    assert (missing.code, missing.err.splitlines()[0]) == (
        1, "error: empty holds no backup: there is no city.dump."
    )  # fmt: skip
    assert run(open_folder, "db", "dump", "backup", settings=settings).code == 0
    assert (open_folder / "backup").stat().st_mode & 0o077 == 0
    twice = run(open_folder, "db", "dump", "backup", settings=settings)
    assert (twice.code, twice.err.splitlines()[0]) == (1, "error: backup holds a backup already.")
    assert sorted(path.name for path in (open_folder / "backup").iterdir()) == ["city.dump", "dagster.dump"]
    embedded = {"LAMBDA_HOME": "home"}
    assert run(open_folder, "db", "restore", "backup", settings=embedded).code == 0
    query = ("db", "psql", "--", "-Atc", "select city from deployment")
    assert run(open_folder, *query, settings=embedded).out == "Jakarta\n"
    refused = run(open_folder, "db", "restore", "backup", settings=embedded)
    assert refused.err.startswith("error: The database lambda is not empty; it holds "), refused.text
    assert f"move {open_folder / 'home' / 'postgres' / 'data'} away" in refused.err
    nobody = {**settings, "LAMBDA_OWNER_DATABASE_URL": shared[0].url("nowhere")}
    gone = run(open_folder, "db", "restore", "backup", settings=nobody)
    assert gone.code == 1
    assert "LAMBDA_OWNER_DATABASE_URL" in gone.err
    assert "Traceback" not in gone.text
