"""The same settings everywhere: what .env.example, docker-compose.yml and the documents name is what the code reads."""

import re
import tomllib
from pathlib import Path

import pytest

from lambda_pipeline.settings import Settings
from lambda_pipeline_tests.deploy.composition import REPOSITORY, SECRETS, Service, image_environment, read_services

SETTINGS = {str(field.alias) for field in Settings.model_fields.values()}
# What workspace.yaml reads, the one file that is not ours to type.
WORKSPACE = set(re.findall(r"env: (\w+)", (REPOSITORY / "workspace.yaml").read_text()))
# Of the embedded servers; and the port that compose publishes Dagster at, which the container need not know.
NOT_HANDED = {"LAMBDA_CACHE", "LAMBDA_DAGSTER_PORT"}
COMPOSE = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
EXAMPLE = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
OURS, _, COMPOSE_ONLY = EXAMPLE.partition("# ---- docker-compose.yml only")
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "SECURITY.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Service]:
    return read_services(tmp_path_factory.mktemp("compose"), SECRETS)


def names_in(text: str) -> list[str]:
    """The names that an example of .env sets, commented out or not."""
    return re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", text, re.MULTILINE)


def test_each_setting_is_documented_once() -> None:
    assert sorted(names_in(OURS)) == sorted(SETTINGS)
    assert len(names_in(EXAMPLE)) == len(set(names_in(EXAMPLE)))


def test_compose_hands_on_only_settings_that_exist(services: dict[str, Service]) -> None:
    handed = {name for one in services.values() if one.is_ours for name in one.environment}
    assert handed <= SETTINGS | WORKSPACE


def test_every_setting_reaches_a_container(services: dict[str, Service]) -> None:
    handed = {name for one in services.values() if one.is_ours for name in one.environment}
    assert SETTINGS - handed - set(image_environment()) == NOT_HANDED


def test_a_setting_handed_on_keeps_its_name_and_has_no_second_default() -> None:
    handed_on = re.findall(r"^ +([A-Z_]+): \$\{(\w+):-(.*)\}$", COMPOSE, re.MULTILINE)
    assert len(handed_on) > 20
    for name, variable, default in handed_on:
        assert (variable, default) == (name, "")


def test_the_ports_on_this_machine_are_the_settings_defaults() -> None:
    published = dict(re.findall(r"127\.0\.0\.1:\$\{(\w+):-(\d+)\}", COMPOSE))
    fields = {str(field.alias): field.default for field in Settings.model_fields.values()}
    assert published == {name: str(fields[name]) for name in ("LAMBDA_DAGSTER_PORT", "LAMBDA_DASHBOARD_PORT")}


def test_what_compose_asks_of_the_env_file_is_in_its_example() -> None:
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE))
    assert asked - SETTINGS == set(names_in(COMPOSE_ONLY))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_names_only_settings_that_exist(document: Path) -> None:
    known = SETTINGS | WORKSPACE | set(names_in(COMPOSE_ONLY))
    tests_own = {"LAMBDA_FAULTS_SEED", "LAMBDA_UNION_EXAMPLES", "LAMBDA_FUZZ_EXAMPLES"}
    named = set(
        re.findall(r"\b(LAMBDA_[A-Z_]*[A-Z]|[A-Z]+_(?:DOMAIN|PASSWORD|LOGIN|LOGIN_HASH))\b", document.read_text())
    )
    assert named <= known | tests_own


def test_the_operators_page_describes_every_service_and_names_no_other(services: dict[str, Service]) -> None:
    text = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.partition("| service |")[2].partition("\n\n")[0]
    described = {name for row in table.splitlines() for name in re.findall(r"`([\w-]+)`", row.split("|")[1])}
    assert described == set(services)
    for words in re.findall(r"docker compose (?:stop|logs -f|exec(?: -T)?|run --rm(?: --no-deps)?) (.*)", text):
        named = words.split("`")[0].split()
        assert named[0] in services, words
    ours = {name for name, one in services.items() if one.is_ours and not one.is_one_shot}
    stopped = re.findall(r"docker compose stop (.*)", text)  # before an upgrade, and before a restore
    assert [set(words.split()) for words in stopped] == [ours, ours]


def test_the_metrics_of_a_container_are_at_the_settings_ports_where_its_health_is_asked(
    services: dict[str, Service],
) -> None:
    defaults = {str(field.alias): field.default for field in Settings.model_fields.values()}
    for name in ("ingest", "speed"):
        environment, setting = services[name].environment, f"LAMBDA_{name.upper()}_METRICS_PORT"
        assert environment["LAMBDA_METRICS_HOST"] == "0.0.0.0"  # noqa: S104
        assert environment[setting] == str(defaults[setting])
        assert f"http://127.0.0.1:{defaults[setting]}/healthz" in services[name].check[-1]


def test_the_metrics_are_published_by_choice_and_only_here(
    services: dict[str, Service], tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = ("docker-compose.yml", "deploy/metrics.yml")
    watched = read_services(tmp_path_factory.mktemp("compose"), SECRETS, files=files)
    assert {name for name in services if watched[name].content != services[name].content} == {"ingest", "speed"}
    published = {name: watched[name].content["ports"] for name in ("ingest", "speed")}
    assert {
        name: [(port["host_ip"], port["published"], port["target"]) for port in ports]
        for name, ports in published.items()
    } == {"ingest": [("127.0.0.1", "9101", 9101)], "speed": [("127.0.0.1", "9102-9111", 9102)]}


def test_the_page_for_some_people_differs_in_how_the_dashboard_starts(
    services: dict[str, Service], tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = ("docker-compose.yml", "deploy/sign-in.yml")
    signed_in = read_services(tmp_path_factory.mktemp("compose"), SECRETS, files=files)
    assert {name for name in services if signed_in[name].content != services[name].content} == {"dashboard"}
    assert signed_in["dashboard"].command == [*services["dashboard"].command, "--sign-in"]
    mounted = {volume["target"] for volume in signed_in["dashboard"].content["volumes"]}
    assert mounted == {"/srv/lambda/.streamlit/secrets.toml", "/var/lib/lambda"}
    example = tomllib.loads((REPOSITORY / "deploy" / "secrets.example.toml").read_text(encoding="utf-8"))
    assert set(example["auth"]) == {
        "redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url",
    }  # fmt: skip
    assert example["allowed"]["who"] == []
