"""`make audit`: the locked dependencies, looked up among the known vulnerabilities.

Tolerant of no network, and of a service that does not answer: that is said, and is no failure.
"""

import json
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[2] / "requirements"


def audit(path: Path) -> tuple[list[str], str | None]:
    """What is known of the packages of a requirements file, a line each; and why nothing could be found out, if so."""
    command = [
        sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--disable-pip",
        "--requirement", str(path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        return [], said[-1] if said else f"exit code {done.returncode}"
    found = []
    for package in report["dependencies"]:
        for one in package.get("vulns", ()):
            fixed = ", ".join(one["fix_versions"]) or "no version yet"
            found.append(f"{path.name}: {package['name']} {package['version']}: {one['id']}, mended in {fixed}")
    return found, None


def main() -> int:
    """Exit code 1 where a vulnerability is known."""
    code = 0
    for path in sorted(REQUIREMENTS.glob("*.txt")):
        found, hindrance = audit(path)
        if hindrance is not None:
            print(f"{path.name}: not audited, the service cannot be asked ({hindrance[:200]}).")  # noqa: T201
        else:
            print("\n".join(found) or f"{path.name}: nothing is known.")  # noqa: T201
        code = code or int(bool(found))
    return code


if __name__ == "__main__":
    sys.exit(main())
