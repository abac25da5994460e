"""How the dashboard is started."""

import sys
from pathlib import Path

from lambda_pipeline.shipped import shipped_path

_FLAGS = (
    "--server.headless=true",
    "--server.fileWatcherType=none",
    "--browser.gatherUsageStats=false",
    "--client.toolbarMode=minimal",
    "--client.showErrorDetails=none",
    "--client.showErrorLinks=false",
    # never a bare --theme.*: it forces the light theme while Streamlit goes on reporting the reader's own
    "--theme.light.primaryColor=#1f6fd1",
    "--theme.dark.primaryColor=#5b9df0",
)


def dashboard_command(listen: str, port: int, *, sign_in: bool = False) -> list[str]:
    """Streamlit with the dashboard, serving at `listen`:`port`; LAMBDA_READER_DATABASE_URL says what it reads.

    With `sign_in` only for those whom .streamlit/secrets.toml lets in.
    """
    app = str(Path(__file__).with_name("gate") / "sign_in.py" if sign_in else shipped_path("dashboard", "app.py"))
    where = (f"--server.address={listen}", f"--server.port={port}")
    return [sys.executable, "-m", "streamlit", "run", app, *where, *_FLAGS]
