"""Dockerfile, .dockerignore, docker-compose.yml and Caddyfile: each by its own tool, and our promises beside."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from lambda_pipeline.local import kafka, postgres
from lambda_pipeline.local.dagster_home import prepare_dagster_home
from lambda_pipeline.local.jars import read_lock
from lambda_pipeline_tests.deploy.composition import (
    REPOSITORY,
    SECRETS,
    Service,
    compose,
    image_environment,
    program,
    read_services,
)

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
BUILD_STAGE, _, LAST_STAGE = DOCKERFILE.rpartition("\nFROM ")
LOGIN = {
    "DASHBOARD_DOMAIN": "city.example", "DAGSTER_DOMAIN": "dagster.city.example", "DAGSTER_LOGIN": "ops",
    "DAGSTER_LOGIN_HASH": "$2a$04$PqZgkTJmjGHCOhPZEMwVa.jjWGt5FEkyqsIyRLG3QkeR58VKjFf/S",
}  # fmt: skip


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Service]:
    return read_services(tmp_path_factory.mktemp("compose"), SECRETS | {"ALERT_WEBHOOK_URL": "https://hook"})


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True, check=False
    )


# ---------------------------------------------------------------- Dockerfile


def test_the_linter_has_nothing_to_say_about_the_dockerfile() -> None:
    done = run(program("hadolint"), "--no-color", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_installed_is_locked_and_nothing_of_it_is_for_development() -> None:
    commands = re.sub(r" *\\\n *", " ", BUILD_STAGE)
    installs = re.findall(r"pip .*?install (.*?)(?: &&|$)", commands, re.MULTILINE)
    assert [install for install in installs if "--no-index" not in install] == [
        "--require-hashes --only-binary :all: -r requirements/base.txt",
        "--require-hashes --only-binary :all: -r requirements/build.txt",
    ]
    assert not re.search(r"\b(pip|apt-get|curl|wget)\b", LAST_STAGE)


def test_the_image_runs_as_an_ordinary_user_and_holds_no_more_than_it_runs() -> None:
    assert re.findall(r"^USER (.*)$", LAST_STAGE, re.MULTILINE) == ["10001:10001"]
    assert re.findall(r"^COPY (.*)$", LAST_STAGE, re.MULTILINE) == [
        "--from=build /opt/lambda /opt/lambda",
        "dagster.yaml workspace.yaml /srv/lambda/dagster/",
    ]


def test_dagster_is_set_up_as_it_is_on_this_machine(tmp_path: Path) -> None:
    here, image = prepare_dagster_home(tmp_path, "postgresql+psycopg2://"), image_environment()
    shared = {name for name in here if name.startswith("DAGSTER_")} - {"DAGSTER_HOME"}
    assert {name: image.get(name) for name in shared} == {name: here[name] for name in shared}


def let_through() -> list[Path]:
    """The tracked files that .dockerignore lets into the build."""
    lines = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    wanted = [line[1:] for line in lines if line.startswith("!")]
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    files = [Path(file) for file in tracked.stdout.splitlines()]
    return [file for file in files if any(file.is_relative_to(one) for one in wanted)]


def test_the_build_is_handed_nothing_secret_and_nothing_that_it_does_not_need() -> None:
    assert {file.parts[0] for file in let_through()} == {
        "LICENSE", "README.md", "cities", "dagster.yaml", "dashboard", "lambda_pipeline", "pyproject.toml",
        "requirements", "sql", "workspace.yaml",
    }  # fmt: skip


def test_what_the_build_is_handed_makes_the_whole_wheel(tmp_path: Path) -> None:
    for file in let_through():
        (tmp_path / "context" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / file, tmp_path / "context" / file)
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=tmp_path / "context", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    for source, target in project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].items():
        files = [file for file in let_through() if file.is_relative_to(source)]
        assert files, source
        for file in files:
            assert str(target / file.relative_to(source)).removesuffix("/.") in inside, file


# ---------------------------------------------------------------- docker-compose.yml


@pytest.mark.parametrize("profile", [[], ["--profile", "prod"]])
def test_compose_accepts_the_file(tmp_path: Path, profile: list[str]) -> None:
    done = compose(tmp_path, SECRETS, *profile, "config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_has_a_default(tmp_path: Path, name: str, value: str | None) -> None:
    left = {other: secret for other, secret in SECRETS.items() if other != name}
    done = compose(tmp_path, left if value is None else left | {name: value}, "config", "--quiet")
    assert done.returncode != 0
    assert name in done.stderr
    assert "see .env.example" in done.stderr


def test_each_secret_is_handed_only_to_who_uses_it(services: dict[str, Service]) -> None:
    holders = {
        secret: {name for name, one in services.items() if any(value in v for v in one.environment.values())}
        for secret, value in (SECRETS | {"ALERT_WEBHOOK_URL": "https://hook"}).items()
    }
    dagster = {"dagster-upgrade", "dagster-code", "dagster-web", "dagster-daemon"}
    assert holders == {
        "POSTGRES_PASSWORD": {"postgres", "db-upgrade"},
        "WRITER_PASSWORD": {"db-upgrade", "ingest", "speed", "dagster-code"},
        "READER_PASSWORD": {"db-upgrade", "dagster-code", "dashboard"},
        "DAGSTER_PASSWORD": {"db-upgrade", *dagster},
        "TOMTOM_API_KEY": {"ingest"},
        "AQICN_TOKEN": {"ingest"},
        "ALERT_WEBHOOK_URL": {"dagster-code"},
    }


def test_only_dashboard_and_dagster_are_published_and_only_here(services: dict[str, Service]) -> None:
    published = {
        name: {(port.get("host_ip"), port["published"], port["target"]) for port in one.content.get("ports", [])}
        for name, one in services.items()
    }
    assert {name: ports for name, ports in published.items() if ports} == {
        "dashboard": {("127.0.0.1", "8501", 8501)},
        "dagster-web": {("127.0.0.1", "3000", 3000)},
        "caddy": {(None, "80", 80), (None, "443", 443)},
    }
    assert services["caddy"].content["profiles"] == ["prod"]
    assert {name for name, one in services.items() if "profiles" in one.content} == {"caddy"}


def test_only_who_must_has_a_way_out(services: dict[str, Service]) -> None:
    outside = {name for name, one in services.items() if "outside" in one.content["networks"]}
    assert outside == {"ingest", "dagster-code", "dagster-web", "dashboard", "caddy"}


def test_every_service_is_bounded_restarted_and_watched(services: dict[str, Service]) -> None:
    for name, one in services.items():
        limits = one.content["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert one.content["logging"]["options"]["max-size"], name
        assert one.content["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in one.content, name
        assert one.content["restart"] == ("no" if one.is_one_shot else "unless-stopped"), name
        assert bool(one.check) != one.is_one_shot, name  # whose end says enough
    assert {name for name, one in services.items() if one.is_one_shot} == {"db-upgrade", "dagster-upgrade"}


def test_our_services_share_one_image_and_can_change_only_what_they_must(services: dict[str, Service]) -> None:
    ours = {name: one.content for name, one in services.items() if one.is_ours}
    assert set(services) - set(ours) == {"postgres", "kafka", "caddy"}
    assert {content["image"] for content in ours.values()} == {"lambda-pipeline"}
    assert all(content["read_only"] and content["cap_drop"] == ["ALL"] for content in ours.values())
    kept = {
        name: [volume["target"] for volume in content.get("volumes", []) if volume["type"] == "volume"]
        for name, content in ours.items()
    }
    assert {name: targets for name, targets in kept.items() if targets} == {
        "ingest": ["/var/lib/lambda"],
        "dagster-code": ["/srv/lambda/dagster/storage", "/var/lib/lambda"],
        "dagster-web": ["/srv/lambda/dagster/storage"],
        "dashboard": ["/var/lib/lambda"],
    }
    assert ours["dashboard"]["volumes"][0]["read_only"]


def test_the_servers_data_outlives_them(services: dict[str, Service]) -> None:
    for name, target in (("postgres", "/var/lib/postgresql"), ("kafka", "/var/lib/kafka/data")):
        (volume,) = services[name].content["volumes"]
        assert (volume["type"], volume["target"]) == ("volume", target)
    assert services["kafka"].environment["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"


def test_speed_can_be_scaled(services: dict[str, Service]) -> None:
    assert not {"container_name", "ports", "hostname"} & set(services["speed"].content)


def test_they_start_in_order_and_by_health(services: dict[str, Service]) -> None:
    for name, one in services.items():
        for other, condition in one.needs.items():
            wanted = "service_completed_successfully" if services[other].is_one_shot else "service_healthy"
            assert condition == wanted, (name, other)
    kafka_users = {name for name, one in services.items() if "KAFKA_BOOTSTRAP_SERVERS" in one.environment}
    assert kafka_users == {name for name, one in services.items() if "kafka" in one.needs}
    assert {name for name, one in services.items() if not one.needs} == {"postgres", "kafka"}


def test_the_servers_are_the_ones_that_the_tests_run(services: dict[str, Service]) -> None:
    assert services["postgres"].content["image"] == f"postgres:{postgres.VERSION}"
    (version,) = {jar.coordinate.rpartition(":")[2] for jar in read_lock() if ":kafka_2.13:" in jar.coordinate}
    assert services["kafka"].content["image"] == f"apache/kafka:{version}"
    options = dict(part.removeprefix("-c").split("=", 1) for part in services["postgres"].command[1:])
    assert {name: value.strip() for name, value in options.items()} == {
        name: value.strip()
        for name, value in postgres.SETTINGS.items()
        if name not in ("listen_addresses", "unix_socket_permissions")
    }
    embedded = dict(line.split("=", 1) for line in kafka._PROPERTIES.splitlines() if "=" in line and line[0] != "#")
    composed = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in services["kafka"].environment.items()
    }
    for name in set(embedded) & set(composed) - {"listeners", "advertised.listeners", "log.dirs"}:
        if name != "controller.quorum.voters":
            assert composed[name] == embedded[name], name


# ---------------------------------------------------------------- Caddyfile


def caddy(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(program("caddy"), *arguments, "--config", "deploy/Caddyfile", **LOGIN | variables)


def test_caddy_accepts_its_file() -> None:
    done = caddy("validate", "--adapter", "caddyfile")
    assert done.returncode == 0, done.stderr
    assert run(program("caddy"), "fmt", "--diff", "deploy/Caddyfile").returncode == 0


@pytest.mark.parametrize("missing", [*([name] for name in LOGIN), ["DAGSTER_LOGIN", "DAGSTER_LOGIN_HASH"]])
def test_caddy_does_not_start_without_a_domain_or_with_dagster_open(missing: list[str]) -> None:
    assert caddy("validate", "--adapter", "caddyfile", **dict.fromkeys(missing, "")).returncode != 0
