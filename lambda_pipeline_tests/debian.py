"""What tests need of the machine itself: installed on Debian as root, else said."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable


def provide(package: str, is_there: Callable[[], object], advice: str) -> int:
    """Make sure that something is there, by a package of Debian's if need be; exit code 1 with advice if not."""
    if is_there():
        return 0
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
            print("+", " ".join(command), flush=True)  # noqa: T201 - this is a command of its own
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        if is_there():
            return 0
    print(advice, file=sys.stderr)  # noqa: T201
    return 1
