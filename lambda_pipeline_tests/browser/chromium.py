"""Chromium for the browser tests: found, installed where that is allowed, or asked for.

`python -m lambda_pipeline_tests.browser.chromium` is what `make browser` runs.
"""

import os
import shutil
import sys

from lambda_pipeline_tests.debian import provide

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",
    "--use-angle=swiftshader",  # WebGL without a graphics card, for the maps
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def find_chromium() -> str | None:
    """Path of the machine's Chromium, or None."""
    chosen = os.environ.get("LAMBDA_TEST_CHROMIUM")
    return chosen or next((path for name in NAMES if (path := shutil.which(name))), None)


def main() -> int:
    """Make sure that there is a Chromium; exit code 1 with advice where there is none."""
    return provide(
        "chromium",
        find_chromium,
        "The browser tests need Chromium, and it is not installed. Install it (on Debian: apt-get install chromium), "
        "or name one in LAMBDA_TEST_CHROMIUM.",
    )


if __name__ == "__main__":
    sys.exit(main())
