"""TLS and SASL settings for Kafka: what fits together, and what is said where it does not."""

import logging
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from lambda_pipeline.errors import SettingsError
from lambda_pipeline.settings import load_settings
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.cli.commands import SETTINGS
from lambda_pipeline_tests.security.certificates import Authority, Issued

PREFIX = "LAMBDA_KAFKA_"
LOGIN = {"SASL_MECHANISM": "PLAIN", "USERNAME": "ingest", "PASSWORD": "s3cret"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "Test")


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue("client")


def security(
    monkeypatch: pytest.MonkeyPatch, brokers: str | None = "kafka:9093", **settings: object
) -> dict[str, object]:
    """What the settings come to, named without their prefix."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(f"{PREFIX}{name}", str(value))
    if brokers is not None:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", brokers)
    return load_settings(None).kafka_security()


def test_without_settings_kafka_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert security(monkeypatch) == security(monkeypatch, None) == {}


def test_settings_become_the_clients(monkeypatch: pytest.MonkeyPatch, authority: Authority, issued: Issued) -> None:
    files = {"CA_FILE": authority.file, "CERTIFICATE_FILE": issued.certificate, "KEY_FILE": issued.key}
    assert security(monkeypatch, SECURITY_PROTOCOL="SASL_SSL", **LOGIN, **files) == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN", "sasl_plain_username": "ingest", "sasl_plain_password": "s3cret",
        "ssl_cafile": str(authority.file), "ssl_certfile": str(issued.certificate), "ssl_keyfile": str(issued.key),
    }  # fmt: skip


def test_a_file_may_hold_both_and_the_systems_authorities_do_without(
    monkeypatch: pytest.MonkeyPatch, issued: Issued
) -> None:
    found = security(monkeypatch, SECURITY_PROTOCOL="SSL", CERTIFICATE_FILE=issued.both)
    assert found == {"security_protocol": "SSL", "ssl_certfile": str(issued.both)}


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"USERNAME": "ingest"}, "USERNAME is set, but LAMBDA_KAFKA_SECURITY_PROTOCOL is PLAINTEXT"),
        (
            {"SECURITY_PROTOCOL": "SSL", "PASSWORD": "s3cret"},
            "PASSWORD is set, but LAMBDA_KAFKA_SECURITY_PROTOCOL is SSL",
        ),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL"},
            "not set: LAMBDA_KAFKA_SASL_MECHANISM, LAMBDA_KAFKA_USERNAME, LAMBDA_KAFKA_P",
        ),
        (
            {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", "PASSWORD": "s3cret"},
            "LAMBDA_KAFKA_SECURITY_PROTOCOL is SASL_SSL, but not set: LAMBDA_KAFKA_USERNAME.",
        ),
        ({"CA_FILE": "/ca.pem"}, "CA_FILE is set, but LAMBDA_KAFKA_SECURITY_PROTOCOL is PLAINTEXT"),
        ({"SECURITY_PROTOCOL": "SASL_PLAINTEXT", **LOGIN, "CA_FILE": "/ca.pem"}, "CA_FILE is set, but"),
        (
            {"SECURITY_PROTOCOL": "SSL", "CA_FILE": "/no/ca.pem"},
            "LAMBDA_KAFKA_CA_FILE: /no/ca.pem cannot be read: No such",
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "KEY_FILE": "{key}"},
            "KEY_FILE is set, but LAMBDA_KAFKA_CERTIFICATE_FILE is not",
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "CERTIFICATE_FILE": "{certificate}", "KEY_FILE": "/no/key.pem"},
            "LAMBDA_KAFKA_KEY_FILE: /no/key.pem cannot be read",
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "CERTIFICATE_FILE": "{certificate}"},
            "CERTIFICATE_FILE: .* is not what it should be",
        ),
        ({"SECURITY_PROTOCOL": "SSL", "CERTIFICATE_FILE": "{locked}"}, "CERTIFICATE_FILE: .* is not what it should be"),
        ({"SECURITY_PROTOCOL": "SSL", "CA_FILE": "{nonsense}"}, "CA_FILE: .* is not what it should be"),
        ({"SECURITY_PROTOCOL": "TLS"}, "LAMBDA_KAFKA_SECURITY_PROTOCOL"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", **LOGIN, "SASL_MECHANISM": "GSSAPI"}, "LAMBDA_KAFKA_SASL_MECHANISM"),
    ],
)
def test_what_does_not_fit_together_is_named_and_the_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, issued: Issued, tmp_path: Path, settings: dict[str, str], what: str
) -> None:
    nonsense, locked = tmp_path / "nonsense.pem", tmp_path / "locked.pem"
    nonsense.write_text("nothing")
    key = load_pem_private_key(issued.key.read_bytes(), None)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a passphrase"))
    locked.write_bytes(secret + issued.certificate.read_bytes())
    files = {"key": issued.key, "certificate": issued.certificate, "nonsense": nonsense, "locked": locked}
    with pytest.raises(SettingsError, match=what) as caught:
        security(monkeypatch, **{name: value.format(**files) for name, value in settings.items()})
    assert "s3cret" not in str(caught.value)
    assert caught.value.next_action


def test_the_embedded_broker_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="SASL_SSL, but the embedded Kafka is plain"):
        security(monkeypatch, None, SECURITY_PROTOCOL="SASL_SSL", **LOGIN)


def test_the_password_shows_nowhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    found = security(monkeypatch, SECURITY_PROTOCOL="SASL_SSL", **LOGIN)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("lambda_pipeline").info("%r", KafkaConnection("kafka:9093", found))
        logging.getLogger("lambda_pipeline").info("%s", load_settings(None).describe())
    assert "LAMBDA_KAFKA_PASSWORD=***" in caplog.text
    assert "s3cret" not in caplog.text
