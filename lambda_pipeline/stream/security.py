"""How a Kafka that is not open to everybody is reached: TLS and SASL, and why it does not let us in."""

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lambda_pipeline.errors import SettingsError

_PROTOCOL = "LAMBDA_KAFKA_SECURITY_PROTOCOL"
_PROBE_SECONDS, _LISTEN_SECONDS = 3.0, 0.5
_SASL_HANDSHAKE, _SASL_AUTHENTICATE = 17, 36  # of Kafka's protocol
_MOST_BYTES = 100_000


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


class Refusal(NamedTuple):
    """Why a broker that answers is of no use to us, to be read after its address, and what to do about it."""

    reason: str
    next_action: str


def why_refused(bootstrap_servers: str, security: dict[str, Any]) -> Refusal | None:
    """What is wrong with TLS or the login at the first broker that answers; None where it is well, or nobody answers.

    kafka-python itself says, at most, that the connection broke off: such a broker hangs up as soon as it has said why.
    """
    protocol = security.get("security_protocol", "PLAINTEXT")
    for address in bootstrap_servers.split(",") if protocol != "PLAINTEXT" else ():
        parts = urlsplit(f"//{address.strip().rpartition('://')[2]}")
        host = parts.hostname or ""
        try:
            plain = socket.create_connection((host, parts.port or 9092), _PROBE_SECONDS)
        except OSError:
            continue
        with plain:
            return (_handshake if protocol.endswith("SSL") else _login)(plain, host, security)
    return None


def _handshake(plain: socket.socket, host: str, security: dict[str, Any]) -> Refusal | None:
    try:
        with tls_context(security).wrap_socket(plain, server_hostname=host) as secured:
            if security["security_protocol"].startswith("SASL"):
                return _login(secured, host, security)
            secured.settimeout(_LISTEN_SECONDS)
            try:
                secured.recv(1)  # that a certificate of ours is asked for comes after the handshake
            except TimeoutError:
                return None
    except ssl.SSLCertVerificationError as error:
        return _unsafe(f"its certificate is not trusted: {error.verify_message}")
    except ssl.SSLError as error:
        return _unsafe(f"TLS fails: {error.reason or error}")
    except OSError as error:
        return _unsafe(f"it breaks off when TLS begins ({error.strerror or error})")
    return None


def _unsafe(reason: str) -> Refusal:
    return Refusal(
        f"cannot be reached safely: {reason}",
        "Are LAMBDA_KAFKA_SECURITY_PROTOCOL and LAMBDA_KAFKA_CA_FILE right for this address (and certificate and key, "
        "where the brokers ask for them)?",
    )


def _login(connection: socket.socket, host: str, security: dict[str, Any]) -> Refusal | None:
    """Log in as a client of Kafka's does, and hear what the broker says to it. None also where it says nothing."""
    from kafka.net.sasl import get_sasl_mechanism  # noqa: PLC0415 - settings are read without Kafka's client

    name = str(security["sasl_mechanism"])
    mechanism = get_sasl_mechanism(name)(host=host, **security)
    try:
        code, answer = _ask(connection, _SASL_HANDSHAKE, 1, _text(name))
        said = f"it does not take {name}" if code else None
        while said is None and not mechanism.is_done():
            code, answer = _ask(connection, _SASL_AUTHENTICATE, 0, _bytes(mechanism.auth_bytes()))
            (length,) = struct.unpack_from(">h", answer)
            message, rest = answer[2 : 2 + max(length, 0)], answer[2 + max(length, 0) :]
            if code:
                said = message.decode(errors="replace") or f"error {code}"
            else:
                mechanism.receive(rest[4:])
    except ssl.SSLError:
        raise
    except (OSError, struct.error, ValueError):
        return None
    if said is None:
        return None
    return Refusal(
        f"does not let the user {security['sasl_plain_username']} in: {said}",
        "Are LAMBDA_KAFKA_USERNAME, LAMBDA_KAFKA_PASSWORD and LAMBDA_KAFKA_SASL_MECHANISM right?",
    )


def _ask(connection: socket.socket, api: int, version: int, body: bytes) -> tuple[int, bytes]:
    """A request of Kafka's protocol, and of its answer the error code and what follows it."""
    message = struct.pack(">hhi", api, version, 0) + _text("lambda-pipeline") + body
    connection.sendall(_bytes(message))
    with connection.makefile("rb") as answers:
        size, _, code = struct.unpack(">iih", answers.read(10))
        return code, answers.read(max(min(size, _MOST_BYTES) - 6, 0))


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value.encode())) + value.encode()


def _bytes(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


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
