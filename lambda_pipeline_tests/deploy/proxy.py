"""Caddy by our Caddyfile, in front of a machine's services: at a free port, with certificates of its own making."""

import json
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from lambda_pipeline.local import processes
from lambda_pipeline.local.home import free_port
from lambda_pipeline_tests.deploy.composition import REPOSITORY, program
from lambda_pipeline_tests.deploy.machine import Machine
from lambda_pipeline_tests.processes import wait_for

DASHBOARD, DAGSTER = "city.localhost", "dagster.localhost"
LOGIN, PASSWORD = "ops", "let me in"


@dataclass(frozen=True)
class Proxy:
    """Where it listens, and whose certificates to trust."""

    port: int
    root: Path
    context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "context", ssl.create_default_context(cafile=str(self.root)))

    def get(self, domain: str, path: str, headers: Mapping[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        """GET, its certificate checked for the domain."""
        pool = urllib3.HTTPSConnectionPool(
            "127.0.0.1", self.port, server_hostname=domain, assert_hostname=domain, ssl_context=self.context, timeout=20
        )
        return pool.request("GET", path, headers={"Host": domain, **(headers or {})}, redirect=False, retries=False)

    def answers(self, domain: str) -> bool:
        """Whether it speaks TLS for the domain; its certificates come a moment after its start."""
        try:
            return self.get(domain, "/").status < 500
        except urllib3.exceptions.HTTPError:
            return False


@contextmanager
def running_proxy(machine: Machine) -> Iterator[Proxy]:
    """Caddy for as long as a block runs. Where the Caddyfile says a service's name, its address is put."""
    folder = machine.folder / "caddy"
    folder.mkdir()
    environment = {
        "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
        "DASHBOARD_DOMAIN": DASHBOARD, "DAGSTER_DOMAIN": DAGSTER, "DAGSTER_LOGIN": LOGIN,
        "DAGSTER_LOGIN_HASH": _run("hash-password", "--plaintext", PASSWORD, environment={"HOME": str(folder)}).strip(),
    }  # fmt: skip
    adapted = _run("adapt", "--config", str(REPOSITORY / "deploy" / "Caddyfile"), environment=environment)
    for name in ("dashboard", "dagster-web"):
        assert f'"dial":"{name}:' in adapted
        adapted = adapted.replace(f'"dial":"{name}:', f'"dial":"{machine.addresses[name]}:')
    port = free_port()
    config = json.loads(adapted)
    for server in config["apps"]["http"]["servers"].values():
        server["listen"] = [f"127.0.0.1:{port if server['listen'] == [':443'] else free_port()}"]
        server["automatic_https"] = {**server.get("automatic_https", {}), "disable_redirects": True}
    config["apps"]["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
    file = folder / "caddy.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    command = [program("caddy"), "run", "--config", str(file)]
    child = processes.spawn("caddy", command, folder / "caddy.log", environment, cwd=folder)
    root = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    try:
        wait_for(root.exists, "Caddy has made its root certificate", 30)
        proxy = Proxy(port, root)
        wait_for(lambda: all(map(proxy.answers, (DASHBOARD, DAGSTER))), "Caddy has made both certificates", 30)
        yield proxy
    finally:
        processes.kill(child)


def _run(*arguments: str, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        [program("caddy"), *arguments], env=dict(environment), capture_output=True, text=True, check=True
    )
    return done.stdout
