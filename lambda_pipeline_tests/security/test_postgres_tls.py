"""`sslmode` and what belongs to it pass from the address to the server, and what is wrong is said clearly."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lambda_pipeline.errors import DatabaseUnavailableError
from lambda_pipeline.settings import load_settings
from lambda_pipeline.storage.engine import Timeouts, make_engine, transaction
from lambda_pipeline_tests.cli.in_process import Call, call, logging_as_before
from lambda_pipeline_tests.security.certificates import Authority
from lambda_pipeline_tests.security.debian_postgres import PASSWORD, TlsServer, find_programs, running

__all__ = ["call", "logging_as_before"]

pytestmark = pytest.mark.integration
IS_ENCRYPTED = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"


class OlderServers(Timeouts):
    """Debian's server may be older than what the platform needs, and know one time-out less."""

    def options(self) -> str:
        kept = [part for part in super().options().split("-c ") if not part.startswith("transaction_timeout")]
        return "-c ".join(kept)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "Test")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Authority(tmp_path_factory.mktemp("stranger"), "Stranger").file


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[TlsServer]:
    programs = find_programs()
    if programs is None:
        pytest.fail("no PostgreSQL server with TLS on this machine: run `make tls-server`")
    with running(programs, authority.issue("server", "127.0.0.1")) as found:
        yield found


def is_encrypted(url: str) -> bool:
    engine = make_engine(url, "test", OlderServers())
    try:
        with transaction(engine) as connection:
            return bool(connection.execute(sa.text(IS_ENCRYPTED)).scalar())
    finally:
        engine.dispose()


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_is_reached_with_tls_and_its_authority(server: TlsServer, authority: Authority, mode: str) -> None:
    assert is_encrypted(server.url(sslmode=mode, sslrootcert=str(authority.file)))


@pytest.mark.parametrize(
    ("host", "parameters", "what"),
    [
        ("127.0.0.1", {"sslmode": "verify-full", "sslrootcert": "{stranger}"}, "certificate verify failed"),
        ("127.0.0.1", {"sslmode": "verify-full", "sslrootcert": "/no/authority.pem"}, "authority.pem.* does not exist"),
        ("localhost", {"sslmode": "verify-full", "sslrootcert": "{authority}"}, "does not match host name"),
        ("127.0.0.1", {"sslmode": "disable"}, "no pg_hba.conf entry for host .*no encryption"),
    ],
)
def test_a_server_that_is_not_trusted_or_does_not_take_plain_clients_is_refused_clearly(
    server: TlsServer,
    authority: Authority,
    stranger: Path,
    call: Call,
    host: str,
    parameters: dict[str, str],
    what: str,
) -> None:
    files = {"authority": authority.file, "stranger": stranger}
    url = server.url(host, **{name: value.format(**files) for name, value in parameters.items()})
    with pytest.raises(DatabaseUnavailableError, match=what) as caught:
        is_encrypted(url)
    assert PASSWORD not in str(caught.value)
    assert "sslmode" in caught.value.next_action
    result = call("status", DATABASE_URL=url, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert result.code == 2
    assert "! PostgreSQL is not answering" in result.out
    assert "Traceback" not in result.text
    assert PASSWORD not in result.text


def test_a_wrong_password_is_not_shown(server: TlsServer, authority: Authority) -> None:
    with pytest.raises(DatabaseUnavailableError, match="password authentication failed") as caught:
        is_encrypted(server.url(password="a-wrong-one", sslmode="verify-full", sslrootcert=str(authority.file)))
    assert "a-wrong-one" not in str(caught.value)


def test_dagsters_driver_takes_the_same_parameters(
    server: TlsServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url(sslmode="verify-full", sslrootcert=str(authority.file))
    monkeypatch.setenv("LAMBDA_DAGSTER_DATABASE_URL", url)
    secret = load_settings(None).dagster_database_url
    assert secret is not None
    engine = sa.create_engine(secret.get_secret_value())
    with engine.connect() as connection:
        assert connection.execute(sa.text(IS_ENCRYPTED)).scalar() is True
    engine.dispose()
