"""How a Kafka that is not open to everybody is reached: TLS and SASL, and why it does not let us in."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lambda_pipeline.errors import SettingsError

_PROTOCOL = "LAMBDA_KAFKA_SECURITY_PROTOCOL"
_PROBE_SECONDS = 3.0


def kafka_security(
    protocol: str,
    *,
    mechanism: str | None = None,
    username: str | None = None,
    password: str | None = None,
    ca_file: Path | None = None,
    certificate_file: Path | None = None,
    key_file: Path | None = None,
) -> dict[str, Any]:
    """The settings as kafka-python's, empty for PLAINTEXT. The files are PEM, and are read once to be sure of them.

    Without `ca_file` the system's authorities are trusted; the broker's name is always compared with its certificate.
    Raises SettingsError that names the setting: what contradicts the protocol, is missing, or cannot be used.
    """
    login = {
        "LAMBDA_KAFKA_SASL_MECHANISM": mechanism,
        "LAMBDA_KAFKA_USERNAME": username,
        "LAMBDA_KAFKA_PASSWORD": password,
    }
    files = {
        "LAMBDA_KAFKA_CA_FILE": ca_file,
        "LAMBDA_KAFKA_CERTIFICATE_FILE": certificate_file,
        "LAMBDA_KAFKA_KEY_FILE": key_file,
    }
    needs_login, is_tls = protocol.startswith("SASL"), protocol.endswith("SSL")
    _refuse_idle({} if needs_login else login, protocol, "SASL_SSL")
    _refuse_idle({} if is_tls else files, protocol, "SASL_SSL" if needs_login else "SSL")
    found: dict[str, Any] = {}
    if needs_login:
        missing = [name for name, value in login.items() if not value]
        if missing:
            raise SettingsError(
                f"{_PROTOCOL} is {protocol}, but not set: {', '.join(missing)}.",
                f"Set what is missing, or {_PROTOCOL} to SSL or PLAINTEXT.",
            )
        found |= {"sasl_mechanism": mechanism, "sasl_plain_username": username, "sasl_plain_password": password}
    if key_file is not None and certificate_file is None:
        raise SettingsError("LAMBDA_KAFKA_KEY_FILE is set, but LAMBDA_KAFKA_CERTIFICATE_FILE is not.", "Set both.")
    if is_tls:
        given = {"ssl_cafile": ca_file, "ssl_certfile": certificate_file, "ssl_keyfile": key_file}
        found |= {name: str(path) for name, path in given.items() if path is not None}
        tls_context(found)
    return found | ({"security_protocol": protocol} if protocol != "PLAINTEXT" else {})


def tls_context(security: dict[str, Any]) -> ssl.SSLContext:
    """What `security` (kafka-python's settings) trusts and shows. Raises SettingsError for a file of no use."""
    context = ssl.create_default_context()
    authority, certificate, key = (security.get(name) for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"))
    if authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with _reading("LAMBDA_KAFKA_CA_FILE", authority):
            context.load_verify_locations(authority)
    if certificate is not None:
        for name, path in (("LAMBDA_KAFKA_CERTIFICATE_FILE", certificate), ("LAMBDA_KAFKA_KEY_FILE", key)):
            with _reading(name, path or certificate):
                Path(path or certificate).read_bytes()
        with _reading("LAMBDA_KAFKA_CERTIFICATE_FILE", certificate):
            context.load_cert_chain(certificate, key, password=lambda: "")  # it would ask the terminal for one
    return context


def why_no_tls(bootstrap_servers: str, security: dict[str, Any]) -> str | None:
    """What is wrong with TLS at the first broker that answers; None where it is well, or where nobody answers.

    kafka-python itself only says that it could not connect.
    """
    if not str(security.get("security_protocol", "")).endswith("SSL"):
        return None
    context = tls_context(security)
    for address in bootstrap_servers.split(","):
        parts = urlsplit(f"//{address.strip().rpartition('://')[2]}")
        try:
            with socket.create_connection((parts.hostname or "", parts.port or 9092), _PROBE_SECONDS) as plain:
                return _handshake(context, plain, parts.hostname or "")
        except OSError:
            continue
    return None


def _handshake(context: ssl.SSLContext, plain: socket.socket, host: str) -> str | None:
    try:
        with context.wrap_socket(plain, server_hostname=host) as secured:
            secured.settimeout(0.5)
            try:
                secured.recv(1)  # that a certificate of ours is asked for comes after the handshake
            except TimeoutError:
                return None
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted: {error.verify_message}"
    except ssl.SSLError as error:
        return f"TLS fails: {error.reason or error}"
    except TimeoutError:
        return "it does not answer in TLS"
    except OSError as error:
        return f"it breaks off when TLS begins ({error.strerror or error})"
    return None


def _refuse_idle(given: dict[str, Any], protocol: str, instead: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise SettingsError(
                f"{name} is set, but {_PROTOCOL} is {protocol}, which does not use it.",
                f"Set {_PROTOCOL} to {instead}, or leave {name} out.",
            )


@contextmanager
def _reading(setting: str, path: str) -> Iterator[None]:
    """Turn what is wrong with a file into an error that names its setting."""
    try:
        yield
    except ssl.SSLError as error:
        raise SettingsError(
            f"{setting}: {path} is not what it should be: {error.reason or error}.",
            "PEM files are needed, and a key that fits its certificate and has no passphrase.",
        ) from None
    except OSError as error:
        raise SettingsError(
            f"{setting}: {path} cannot be read: {error.strerror or error}.", "Is the path right?"
        ) from None
