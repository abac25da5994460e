"""What docker-compose.yml and the Dockerfile say, as Docker Compose itself reads it. Needs no Docker engine."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
SECRETS = {
    "POSTGRES_PASSWORD": "p0stgres", "WRITER_PASSWORD": "0123", "READER_PASSWORD": "readers",
    "DAGSTER_PASSWORD": "dag5", "TOMTOM_API_KEY": "tomtom", "AQICN_TOKEN": "aqicn",
}  # fmt: skip


@dataclass(frozen=True)
class Service:
    """One service: its command, its whole environment, what it waits for, how its health is asked."""

    name: str
    command: list[str]
    environment: dict[str, str]
    needs: dict[str, str]  # service: condition
    check: list[str]
    grace_seconds: float
    content: dict[str, Any]  # all that is said of it

    @property
    def is_ours(self) -> bool:
        """Whether it runs our image."""
        return "build" in self.content

    @property
    def is_one_shot(self) -> bool:
        """Whether it runs once and ends."""
        return self.content.get("restart") == "no"


def program(name: str) -> str:
    """A program that a wheel installed beside Python."""
    return str(Path(sys.executable).with_name(name))


def compose(
    folder: Path, variables: Mapping[str, str], *arguments: str, files: Sequence[str] = ("docker-compose.yml",)
) -> subprocess.CompletedProcess[str]:
    """Run `docker compose` on our file, with `variables` in .env (which lies in `folder`) and none of the machine's."""
    env_file = folder / "compose.env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()), encoding="utf-8")
    chosen = [part for file in files for part in ("--file", str(REPOSITORY / file))]
    return subprocess.run(
        [program("docker-compose"), "--env-file", str(env_file), *chosen, *arguments],
        env={"PATH": os.defpath, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def read_services(folder: Path, variables: Mapping[str, str], **more: Any) -> dict[str, Service]:
    """All services, also those of a profile, with the variables filled in."""
    done = compose(folder, variables, "--profile", "*", "config", "--format", "json", **more)
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout.replace("$$", "$"))["services"]
    return {name: _service(name, content) for name, content in services.items()}


def image_environment() -> dict[str, str]:
    """What the Dockerfile's last stage sets for every service of ours."""
    stage = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    found = re.search(r"^ENV ((?:.*\\\n)*.*)$", stage, re.MULTILINE)
    assert found is not None
    return dict(part.split("=", 1) for part in found[1].replace("\\\n", " ").split())


def _service(name: str, content: dict[str, Any]) -> Service:
    return Service(
        name,
        command=content.get("command") or [],
        environment=content.get("environment") or {},
        needs={other: how["condition"] for other, how in content.get("depends_on", {}).items()},
        check=content.get("healthcheck", {}).get("test", []),
        grace_seconds=_seconds(content.get("stop_grace_period", "10s")),
        content=content,
    )


def _seconds(text: str) -> float:
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))
