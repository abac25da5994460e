"""A Java that Spark runs on: there, installed where that is allowed, or asked for.

`python -m lambda_pipeline_tests.java` is what `make java` runs.
"""

import os
import shutil
import sys
from pathlib import Path

from lambda_pipeline_tests.debian import provide


def find_java() -> str | None:
    """The program, below JAVA_HOME or in PATH."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")


def main() -> int:
    """Make sure that there is one; exit code 1 with advice where there is none."""
    return provide(
        "openjdk-17-jre-headless",
        find_java,
        "The tests of Spark need Java 17 or newer, and there is none in JAVA_HOME or PATH. Install it (on Debian: "
        "apt-get install openjdk-17-jre-headless).",
    )


if __name__ == "__main__":
    sys.exit(main())
