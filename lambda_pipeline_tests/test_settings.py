"""Settings: where they come from, what is refused and how, and that no secret shows."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from lambda_pipeline.archive.place import Place, S3Access
from lambda_pipeline.errors import CatalogueError, SettingsError
from lambda_pipeline.settings import Settings, load_settings

REPOSITORY = Path(__file__).parents[1]
NAMES = {name: str(field.alias) for name, field in Settings.model_fields.items()}
SECRETS = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
SECRET = "postgresql://somebody:verysecret@host/lambda"
FIRST_SYSTEMS = {
    "TOMTOM_API_KEY", "AQICN_TOKEN", "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC", "KAFKA_CONSUMER_GROUP", "DATABASE_URL",
}  # fmt: skip
COMMON = {
    "ALERT_WEBHOOK_URL", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting in the environment, and a folder without .env."""
    monkeypatch.chdir(tmp_path)
    for name in NAMES.values():
        monkeypatch.delenv(name, raising=False)


# ---------------------------------------------------------------- names and sources


def test_names_are_the_first_systems_or_begin_with_ours() -> None:
    assert {name for name in NAMES.values() if not name.startswith("LAMBDA_")} == FIRST_SYSTEMS | COMMON
    assert len(set(NAMES.values())) == len(NAMES)


def test_every_setting_is_described_in_a_sentence() -> None:
    for name, field in Settings.model_fields.items():
        assert (field.description or "").endswith("."), name


def test_every_secret_is_masked_by_its_type() -> None:
    assert {
        "tomtom_api_key", "aqicn_token", "database_url", "owner_database_url", "reader_database_url",
        "dagster_database_url", "alert_webhook_url", "kafka_password", "aws_access_key_id", "aws_secret_access_key",
        "aws_session_token",
    } == SECRETS  # fmt: skip


def test_the_defaults_are_the_designs() -> None:
    settings = load_settings()
    assert settings.kafka_topic == "traffic-aqi-data"
    assert settings.kafka_consumer_group == "speed-layer-consumer"
    assert settings.city_name == "jakarta"
    assert settings.city.name == "Jakarta"
    assert settings.home == Path(".lambda")
    assert settings.history_start == date(2025, 1, 1)
    assert settings.listen == "127.0.0.1"
    assert settings.poll_interval is None
    assert {name for name in NAMES if getattr(settings, name) is None} == {
        "tomtom_api_key", "aqicn_token", "kafka_bootstrap_servers", "database_url", "owner_database_url",
        "reader_database_url", "dagster_database_url", "poll_interval_seconds", "aqicn_daily_quota",
        "alert_webhook_url", "kafka_sasl_mechanism", "kafka_username", "kafka_password", "kafka_ca_file",
        "kafka_certificate_file", "kafka_key_file",
        "archive_url", "raw_readers", "duckdb_threads", "raw_retention_days", "aws_endpoint_url", "aws_region",
        "aws_access_key_id", "aws_secret_access_key", "aws_session_token",
    }  # fmt: skip


EXAMPLES: dict[str, tuple[str, Any]] = {
    "tomtom_api_key": ("abc", SecretStr("abc")),
    "aqicn_token": ("abc", SecretStr("abc")),
    "kafka_bootstrap_servers": ("a:9092,b:9092", "a:9092,b:9092"),
    "kafka_topic": ("mine", "mine"),
    "kafka_consumer_group": ("mine", "mine"),
    "kafka_partitions": ("7", 7),
    "kafka_security_protocol": ("SASL_SSL", "SASL_SSL"),
    "kafka_sasl_mechanism": ("PLAIN", "PLAIN"),
    "kafka_username": ("me", "me"),
    "kafka_password": ("abc", SecretStr("abc")),
    "kafka_ca_file": ("/ca.pem", Path("/ca.pem")),
    "kafka_certificate_file": ("/me.pem", Path("/me.pem")),
    "kafka_key_file": ("/me.key", Path("/me.key")),
    "database_url": (SECRET, SecretStr(SECRET)),
    "owner_database_url": (SECRET, SecretStr(SECRET)),
    "reader_database_url": (SECRET, SecretStr(SECRET)),
    "alert_webhook_url": (SECRET, SecretStr(SECRET)),
    "alert_aqi_category": ("Hazardous", "Hazardous"),
    "alert_traffic_level": ("4", 4),
    "alert_minutes": ("10", 10),
    "dead_letter_days": ("7", 7),
    "run_days": ("30", 30),
    "dagster_database_url": (SECRET, SecretStr(SECRET.replace("postgresql", "postgresql+psycopg2"))),
    "city_name": ("mine.toml", "mine.toml"),
    "home": ("/data", Path("/data")),
    "cache": ("/cache", Path("/cache")),
    "history_start": ("2012-03-01", date(2012, 3, 1)),
    "poll_interval_seconds": ("90", 90),
    "tomtom_daily_quota": ("50000", 50_000),
    "aqicn_daily_quota": ("50000", 50_000),
    "stale_reading_seconds": ("600", 600),
    "spool_max_mb": ("64", 64),
    "tomtom_base_url": ("http://127.0.0.1:1", "http://127.0.0.1:1"),
    "aqicn_base_url": ("http://127.0.0.1:1", "http://127.0.0.1:1"),
    "speed_max_records": ("10", 10),
    "speed_max_wait_seconds": ("0.5", 0.5),
    "archive_url": ("s3://bucket/city", "s3://bucket/city"),
    "raw_readers": ("3", 3),
    "batch_engine": ("spark", "spark"),
    "duckdb_memory_mb": ("512", 512),
    "duckdb_threads": ("3", 3),
    "spark_master": ("spark://host:7077", "spark://host:7077"),
    "spark_driver_host": ("192.0.2.1", "192.0.2.1"),
    "spark_memory_mb": ("2048", 2048),
    "raw_retention_days": ("400", 400),
    "aws_endpoint_url": ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
    "aws_region": ("eu-west-1", "eu-west-1"),
    "aws_access_key_id": (SECRET, SecretStr(SECRET)),
    "aws_secret_access_key": (SECRET, SecretStr(SECRET)),
    "aws_session_token": (SECRET, SecretStr(SECRET)),
    "listen": ("0.0.0.0", "0.0.0.0"),  # noqa: S104
    "dashboard_port": ("8000", 8000),
    "dagster_port": ("8000", 8000),
    "refresh_seconds": ("5", 5),
    "tile_url": ("none", ""),
    "tile_attribution": ("me", "me"),
    "log_level": ("DEBUG", "DEBUG"),
    "log_format": ("json", "json"),
    "metrics_host": ("0.0.0.0", "0.0.0.0"),  # noqa: S104
    "ingest_metrics_port": ("0", 0),
    "speed_metrics_port": ("19102", 19_102),
}


def by_environment(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> Settings:
    monkeypatch.setenv(name, value)
    return load_settings()


def by_env_file(_: pytest.MonkeyPatch, name: str, value: str) -> Settings:
    Path(".env").write_text(f"# a comment\nUNKNOWN=1\n{name}={value}\n", encoding="utf-8")
    return load_settings()


@pytest.mark.parametrize("read", [by_environment, by_env_file])
@pytest.mark.parametrize("field", NAMES)
def test_every_setting_is_read_by_its_name_and_typed(
    monkeypatch: pytest.MonkeyPatch, read: Callable[..., Settings], field: str
) -> None:
    text, value = EXAMPLES[field]
    found = getattr(read(monkeypatch, NAMES[field], text), field)
    assert found == value
    assert type(found) is type(value) or isinstance(value, Path)


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("KAFKA_TOPIC=file\nKAFKA_CONSUMER_GROUP=file\n", encoding="utf-8")
    monkeypatch.setenv("KAFKA_TOPIC", "environment")
    settings = load_settings()
    assert (settings.kafka_topic, settings.kafka_consumer_group) == ("environment", "file")


@pytest.mark.parametrize("read", [by_environment, by_env_file])
@pytest.mark.parametrize("field", NAMES)
def test_empty_means_not_set(monkeypatch: pytest.MonkeyPatch, read: Callable[..., Settings], field: str) -> None:
    assert getattr(read(monkeypatch, NAMES[field], ""), field) == getattr(load_settings(None), field)


def test_settings_are_frozen() -> None:
    settings = load_settings()
    for name in NAMES:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(settings, name, getattr(settings, name))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_dagsters_address_gets_the_driver_that_dagster_works_with(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("LAMBDA_DAGSTER_DATABASE_URL", f"{scheme}://u:p@h:5432/d?host=/run")
    found = load_settings().dagster_database_url
    assert found is not None
    assert found.get_secret_value() == "postgresql+psycopg2://u:p@h:5432/d?host=/run"


@pytest.mark.parametrize("value", ["h", "h:9092", "10.0.0.1:9092, h.example:9093", "[::1]:9092", "SASL_SSL://h:9094"])
def test_brokers_are_named_as_kafkas_client_reads_them(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", value)
    assert load_settings().kafka_bootstrap_servers == value


def test_what_no_log_may_show_is_every_secret_and_the_passwords_in_addresses() -> None:
    found = load_settings(
        None, TOMTOM_API_KEY="the key", DATABASE_URL="postgresql://u:p%40ss@h/d", LAMBDA_READER_DATABASE_URL=SECRET,
        ALERT_WEBHOOK_URL="https://[broken",
    ).secrets()  # fmt: skip
    assert sorted(found) == sorted(
        ["the key", "postgresql://u:p%40ss@h/d", "p%40ss", "p@ss", SECRET, "verysecret", "https://[broken"]
    )


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LAMBDA_HISTORY_START", "yesterday"), ("LAMBDA_HISTORY_START", "2025-02-30"), ("KAFKA_TOPIC", "a topic"),
        ("KAFKA_TOPIC", "x" * 250), ("LAMBDA_KAFKA_PARTITIONS", "0"), ("LAMBDA_KAFKA_PARTITIONS", "many"),
        ("LAMBDA_POLL_INTERVAL", "0"), ("LAMBDA_POLL_INTERVAL", "2592001"), ("LAMBDA_STALE_READING", "59"),
        ("LAMBDA_TOMTOM_DAILY_QUOTA", "0"), ("LAMBDA_AQICN_DAILY_QUOTA", "-1"),
        ("LAMBDA_SPOOL_MAX_MB", "0"),
        ("LAMBDA_SPEED_MAX_RECORDS", "0"), ("LAMBDA_SPEED_MAX_WAIT", "0"), ("LAMBDA_SPEED_MAX_WAIT", "nan"),
        ("LAMBDA_DASHBOARD_PORT", "65536"), ("LAMBDA_DAGSTER_PORT", "-1"), ("LAMBDA_REFRESH", "0"),
        ("LAMBDA_LOG_LEVEL", "TRACE"), ("LAMBDA_LOG_FORMAT", "xml"), ("LAMBDA_INGEST_METRICS_PORT", "-1"),
        ("LAMBDA_SPEED_METRICS_PORT", "65536"), ("DATABASE_URL", "verysecret"), ("DATABASE_URL", "sqlite:///verysecret"),
        ("LAMBDA_OWNER_DATABASE_URL", "http://verysecret"), ("DATABASE_URL", "postgresql://u:verysecret@h:p/d"),
        ("LAMBDA_READER_DATABASE_URL", "postgresql://u:very@secret@h/d"), ("DATABASE_URL", "postgresql:verysecret"),
        ("DATABASE_URL", "postgresql://u:verysecret#1@h/d"), ("DATABASE_URL", "postgresql://[verysecret"),
        ("LAMBDA_DAGSTER_DATABASE_URL", "mysql://u:verysecret@h/d"),
        ("LAMBDA_ARCHIVE_URL", "s3://key:verysecret@bucket"), ("LAMBDA_ARCHIVE_URL", "ftp://verysecret"),
        ("AWS_ENDPOINT_URL", "key:verysecret@host"), ("AWS_ENDPOINT_URL", "https://key:verysecret@host"),
        *(("KAFKA_BOOTSTRAP_SERVERS", value) for value in (
            "localhost:abc", "localhost:", "localhost:0", "localhost:65536", ":9092", "h:9092,", "[::1", "::1", "h:1/x",
            "user@h:1", "PLAINTEXT://h:x",
        )),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_the_name_of_its_setting_without_a_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert f"settings: {name}: " in str(caught.value)
    assert "secret" not in str(caught.value)
    assert ".env.example" in caught.value.next_action


def test_all_wrong_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDA_REFRESH", "0")
    monkeypatch.setenv("LAMBDA_LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match=r"LAMBDA_REFRESH: .*; LAMBDA_LOG_LEVEL: "):
        load_settings()


# ---------------------------------------------------------------- secrets


@pytest.mark.parametrize("field", sorted(SECRETS))
def test_secrets_show_nowhere(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setenv(NAMES[field], SECRET)
    settings = load_settings()
    for shown in (repr(settings), str(settings), settings.describe(), settings.model_dump_json()):
        assert "verysecret" not in shown
    assert f"{NAMES[field]}=***" in settings.describe()
    assert "verysecret" in getattr(settings, field).get_secret_value()


def test_the_description_is_one_line_with_every_effective_setting() -> None:
    described = load_settings(None, KAFKA_TOPIC="mine").describe()
    assert "\n" not in described
    assert "KAFKA_TOPIC=mine" in described
    names = set(re.findall(r"(?:^| )([A-Z_]+)=", described))
    settings = load_settings()
    assert names == {NAMES[name] for name in NAMES if getattr(settings, name) is not None}


# ---------------------------------------------------------------- the city


def test_a_city_is_a_shipped_name_or_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Path("mine.toml").write_text('name = "Mine"\ntimezone = "UTC"\n', encoding="utf-8")
    assert load_settings(None, LAMBDA_CITY="mine.toml").city.name == "Mine"
    assert load_settings(None, LAMBDA_CITY=str(tmp_path / "mine.toml")).city.timezone == "UTC"
    assert load_settings(None, LAMBDA_CITY="mine.toml").city_path() == str(tmp_path / "mine.toml")
    assert load_settings(None, LAMBDA_CITY="jakarta").city_path() == "jakarta"


def test_an_unknown_city_names_the_setting_and_what_there_is() -> None:
    with pytest.raises(SettingsError, match=r"LAMBDA_CITY: there is no shipped city 'atlantis' \(there is: .*jakarta"):
        _ = load_settings(None, LAMBDA_CITY="atlantis").city
    with pytest.raises(CatalogueError, match=r"no city catalogue at .*atlantis\.toml"):
        _ = load_settings(None, LAMBDA_CITY="atlantis.toml").city


def test_the_poll_interval_is_a_duration() -> None:
    assert load_settings(None, LAMBDA_POLL_INTERVAL=90).poll_interval == timedelta(seconds=90)


def test_the_archive_is_a_place_with_its_keys(tmp_path: Path) -> None:
    assert load_settings(None).archive_place is None
    settings = load_settings(
        None, LAMBDA_ARCHIVE_URL="archive", AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret", AWS_REGION="here"
    )
    assert settings.archive_place == Place("folder", str(tmp_path / "archive"))
    assert settings.archive_access == S3Access(None, "here", "key", "secret")
    for alone in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together"):
            _ = load_settings(None, **{alone: "x"}).archive_access


def test_the_spool_is_in_the_data_folder() -> None:
    assert load_settings(None, LAMBDA_HOME="/data").spool_path == Path("/data/ingest/spool.db")


# ---------------------------------------------------------------- .env.example


@pytest.fixture(scope="module")
def documented() -> dict[str, str]:
    """What .env.example says of our settings: the value of each name, commented out or not."""
    text, _, _ = (REPOSITORY / ".env.example").read_text(encoding="utf-8").partition("# ---- docker-compose.yml only")
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_the_example_has_every_setting_and_nothing_else(documented: dict[str, str]) -> None:
    assert set(documented) == set(NAMES.values())


def test_the_example_shows_the_defaults(documented: dict[str, str]) -> None:
    settings = load_settings()
    for field, name in NAMES.items():
        value = getattr(settings, field)
        if field != "cache":  # which depends on the user
            assert documented[name] == ("" if value is None else str(value)), name


def test_the_example_describes_each_setting_in_the_words_of_the_code() -> None:
    text = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    for field in Settings.model_fields.values():
        assert re.search(rf"^# {re.escape(str(field.description))}\n(# )?{field.alias}=", text, re.MULTILINE), (
            field.alias
        )


def test_a_copy_of_the_example_sets_nothing() -> None:
    Path(".env").write_text((REPOSITORY / ".env.example").read_text(encoding="utf-8"), encoding="utf-8")
    assert load_settings() == load_settings(None)
