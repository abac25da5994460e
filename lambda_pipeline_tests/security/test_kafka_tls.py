"""A real broker with TLS and SASL: our clients get through with the right settings, and say what is wrong otherwise."""

import logging
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import UserScramCredentialUpsertion

from lambda_pipeline.errors import BrokerRefusedError, BrokerUnavailableError
from lambda_pipeline.ingestion.publisher import Publisher
from lambda_pipeline.ingestion.spool import Spool
from lambda_pipeline.local.home import Home, free_port
from lambda_pipeline.local.kafka import EmbeddedKafka
from lambda_pipeline.local.processes import wait_until
from lambda_pipeline.settings import load_settings
from lambda_pipeline.speed.consumer import SpeedDaemon, SpeedOptions
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.reader import LogReader
from lambda_pipeline.stream.topic import ensure_topic, find_topic
from lambda_pipeline_tests.cli.commands import SETTINGS, run
from lambda_pipeline_tests.integration.observations import seen
from lambda_pipeline_tests.security.certificates import Authority
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

PASSWORD, WRONG = "pass phrase of the test", "another one entirely"
DEADLINE = 60.0
SHORT = 500  # milliseconds
LISTENERS = ("SSL", "SASL_SSL", "SASL_PLAINTEXT")
_PLAIN = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_ingest="{PASSWORD}";'
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


@dataclass(frozen=True)
class Guarded:
    """A broker that is not open to everybody, and what a client of it needs."""

    ports: Mapping[str, int]
    authority: Path
    certificate: Path
    key: Path
    stranger: Path

    def settings(self, protocol: str, **others: object) -> dict[str, str]:
        """The settings of somebody who is let in, but for what is said otherwise; None leaves one out."""
        login = {"SASL_MECHANISM": "PLAIN", "USERNAME": "ingest", "PASSWORD": PASSWORD}
        wanted: dict[str, object] = {"SECURITY_PROTOCOL": protocol}
        if protocol.startswith("SASL"):
            wanted |= login
        if protocol.endswith("SSL"):
            wanted |= {"CA_FILE": self.authority}
        if protocol == "SSL":
            wanted |= {"CERTIFICATE_FILE": self.certificate, "KEY_FILE": self.key}
        given = {f"LAMBDA_KAFKA_{name}": str(value) for name, value in (wanted | others).items() if value is not None}
        return {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.ports[protocol]}", **given}


def properties(ports: Mapping[str, int], server: Path, authority: Path) -> dict[str, str]:
    """What the embedded broker is told in addition."""
    ours = {"PLAINTEXT": "{broker}", **{name: str(port) for name, port in ports.items()}}
    addresses = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ours.items())
    return {
        "listeners": addresses + ",CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": addresses,
        "listener.security.protocol.map": ",".join(f"{name}:{name}" for name in ours) + ",CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(server),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority),
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        **{
            f"listener.name.{name}.{mechanism}.sasl.jaas.config": module
            for name in ("sasl_ssl", "sasl_plaintext")
            for mechanism, module in (("plain", _PLAIN), ("scram-sha-256", _SCRAM), ("scram-sha-512", _SCRAM))
        },
    }


@pytest.fixture(scope="module")
def guarded(jars_cache: Path) -> Iterator[Guarded]:
    with tempfile.TemporaryDirectory(prefix="lambda-tests-", ignore_cleanup_errors=True) as folder:
        authority = Authority(Path(folder) / "authority", "Test")
        server, client = authority.issue("server", "127.0.0.1"), authority.issue("ingest")
        stranger = Authority(Path(folder) / "stranger", "Stranger")
        ports: dict[str, int] = {}
        while len(ports) < len(LISTENERS):
            port = free_port()
            if port not in ports.values():
                ports[LISTENERS[len(ports)]] = port
        broker = EmbeddedKafka(
            Home(Path(folder) / "home"), jars_cache, properties=properties(ports, server.both, authority.file)
        )
        broker.start(progress=False)
        try:
            admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                done = admin.alter_user_scram_credentials([UserScramCredentialUpsertion("ingest", mechanism, PASSWORD)])
                assert done == {"ingest": None}
            admin.close()
            yield Guarded(ports, authority.file, client.certificate, client.key, stranger.file)
        finally:
            broker.stop()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> "Connect":
    return Connect(monkeypatch)


class Connect:
    """A connection as a process with these settings has it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def __call__(
        self, given: Mapping[str, str], servers: str | None = None, patience: int | None = None
    ) -> KafkaConnection:
        """At these brokers, which are waited for so long (milliseconds)."""
        for name in SETTINGS:
            self._patch.delenv(name, raising=False)
        for name, value in given.items():
            self._patch.setenv(name, value)
        settings = load_settings(None)
        security = settings.kafka_security() | ({} if patience is None else {"bootstrap_timeout_ms": patience})
        return KafkaConnection(servers or str(settings.kafka_bootstrap_servers), security)


WAYS = [
    ("SSL", {}),
    ("SASL_SSL", {}),
    ("SASL_SSL", {"SASL_MECHANISM": "SCRAM-SHA-256"}),
    ("SASL_SSL", {"SASL_MECHANISM": "SCRAM-SHA-512"}),
    ("SASL_PLAINTEXT", {"SASL_MECHANISM": "SCRAM-SHA-512"}),
]


@pytest.mark.parametrize(("protocol", "others"), WAYS, ids=lambda value: value if isinstance(value, str) else None)
def test_an_observation_goes_all_the_way(
    guarded: Guarded, connect: Connect, topic_name: str, database: Database, tmp_path: Path,
    protocol: str, others: dict[str, str],
) -> None:  # fmt: skip
    """Admin client, our publisher, the range reader, and the speed daemon with its group."""
    connection = connect(guarded.settings(protocol, **others))
    topic = ensure_topic(connection, topic_name, 1)
    publisher = Publisher(connection.client_settings("ingest"), topic_name, Spool(tmp_path / "spool.db", 1 << 20))
    publisher.publish(seen(0, aqi=42))
    assert publisher.flush(DEADLINE)
    publisher.close()
    with LogReader(connection, topic_name) as reader:
        assert reader.bounds((0,))[0].end == 1
        (batch,) = list(reader.read({0: (0, 1)}, 10))
    assert b'"aqi_value":42' in (batch[0][0].value or b"")
    stop = threading.Event()
    daemon = SpeedDaemon(database.writer, connection, topic, SpeedOptions(topic_name), lambda *_: stop.set())
    thread = threading.Thread(target=daemon.run, args=(stop,), daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert database.scalar("select aqi_value from realtime_data") == 42


REFUSED = [
    ("SASL_SSL", {"PASSWORD": WRONG}, "does not let the user ingest in: .*[Aa]uthentication failed"),
    (
        "SASL_SSL", {"SASL_MECHANISM": "SCRAM-SHA-512", "PASSWORD": WRONG},
        "does not let the user ingest in: .*invalid credentials",
    ),
    ("SASL_PLAINTEXT", {"USERNAME": "nobody"}, "does not let the user nobody in"),
    ("SASL_SSL", {"CA_FILE": "{stranger}"}, "cannot be reached safely: its certificate is not trusted: .*certificate"),
    ("SASL_SSL", {"CA_FILE": None}, "cannot be reached safely: its certificate is not trusted"),
    ("SSL", {"CERTIFICATE_FILE": None, "KEY_FILE": None}, "cannot be reached safely: TLS fails: .*CERTIFICATE"),
]  # fmt: skip


@pytest.mark.parametrize(("protocol", "others", "what"), REFUSED)
def test_whoever_is_not_let_in_is_told_why_and_the_password_is_not_shown(
    guarded: Guarded, connect: Connect, caplog: pytest.LogCaptureFixture, tmp_path: Path,
    protocol: str, others: dict[str, str | None], what: str,
) -> None:  # fmt: skip
    given = {name: value and value.format(stranger=guarded.stranger) for name, value in others.items()}
    connection = connect(guarded.settings(protocol, **given), patience=SHORT)
    with caplog.at_level(logging.DEBUG):
        for attempt in (
            lambda: ensure_topic(connection, "t", 1),
            lambda: find_topic(connection, "t"),
            lambda: LogReader(connection, "t"),
        ):
            with pytest.raises(BrokerRefusedError, match=what) as caught:
                attempt()
            assert "LAMBDA_KAFKA_" in caught.value.next_action
            assert PASSWORD not in str(caught.value)
            assert WRONG not in str(caught.value)
        publisher = Publisher(
            connection.client_settings("ingest"), "t", Spool(tmp_path / "spool.db", 1 << 20),
            prepare=lambda: ensure_topic(connection, "t", 1),
        )  # fmt: skip
        publisher.publish(seen(0, aqi=42))
        assert wait_until(lambda: "Kafka does not acknowledge observations" in caplog.text, DEADLINE)
        assert publisher.counts().pending == 1
        publisher.close(timeout=0)
    assert PASSWORD not in caplog.text
    assert WRONG not in caplog.text
    assert "Traceback" not in caplog.text


def test_the_name_in_the_certificate_must_be_the_brokers(guarded: Guarded, connect: Connect) -> None:
    connection = connect(guarded.settings("SASL_SSL"), f"localhost:{guarded.ports['SASL_SSL']}", SHORT)
    with pytest.raises(BrokerRefusedError, match="not trusted: Hostname mismatch"):
        find_topic(connection, "t")


def test_a_broker_that_does_not_speak_tls_is_told_from_one_that_is_away(guarded: Guarded, connect: Connect) -> None:
    given = guarded.settings("SASL_SSL")
    with pytest.raises(BrokerRefusedError, match=r"cannot be reached safely: .*TLS"):
        find_topic(connect(given, f"127.0.0.1:{guarded.ports['SASL_PLAINTEXT']}", SHORT), "t")
    with pytest.raises(BrokerUnavailableError, match="is not answering"):
        find_topic(connect(given, f"127.0.0.1:{free_port()}", SHORT), "t")


def test_a_plain_client_is_not_answered(guarded: Guarded) -> None:
    for protocol in LISTENERS:
        with pytest.raises(BrokerUnavailableError, match="is not answering"):
            find_topic(KafkaConnection(f"127.0.0.1:{guarded.ports[protocol]}", {"bootstrap_timeout_ms": SHORT}), "t")


@pytest.mark.parametrize("command", ["speed", "ingest"])
def test_a_daemon_that_is_not_let_in_ends_with_one_line(
    guarded: Guarded, database: Database, tmp_path: Path, command: str
) -> None:
    settings = {
        **guarded.settings("SASL_SSL", PASSWORD=WRONG), "DATABASE_URL": database.url(), "LAMBDA_LOG_LEVEL": "DEBUG",
        "TOMTOM_API_KEY": "none", "AQICN_TOKEN": "none",
    }  # fmt: skip
    result = run(tmp_path, command, settings=settings)
    assert result.code == 1
    assert "error: Kafka at 127.0.0.1:" in result.err
    assert "does not let the user ingest in" in result.err
    assert "Traceback" not in result.text
    assert WRONG not in result.text
