"""What `demo` and `up` show while they run: addresses, services, and how fresh each layer is."""

import time
from collections.abc import Sequence
from datetime import datetime
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import sqlalchemy as sa
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lambda_pipeline.errors import LambdaPipelineError

if TYPE_CHECKING:
    from lambda_pipeline.local.supervisor import Status
    from lambda_pipeline.serving.layer import ServingLayer
    from lambda_pipeline.settings import Settings

_OURS = ("ingest", "speed")
_READ_EVERY = 2.0  # seconds between reads of the freshness
_LINE_EVERY = 60.0  # seconds between lines where there is no terminal to redraw


class Screen:
    """A live table on a terminal, a line a minute elsewhere. Use it as a context manager."""

    def __init__(self, settings: "Settings", logs: Path) -> None:
        self._settings = settings
        self._logs = logs
        self._console = Console()
        self._addresses: list[tuple[str, str]] = []
        self._serving: ServingLayer | None = None
        self._freshness: pd.DataFrame | None = None
        self._problem = ""
        self._read_at = self._line_at = float("-inf")
        self._live: Live | None = None
        self._read_up_to: dict[Path, int] = {}

    def __enter__(self) -> "Screen":
        """Remember how long the daemons' logs are already: what an earlier run said is not news."""
        for log_file in (self._logs / f"{name}.log" for name in _OURS):
            if log_file.exists():
                self._read_up_to[log_file] = log_file.stat().st_size
        return self

    def __exit__(self, *_: object) -> None:
        self._end_live()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._end_live()
        self._console.print(text, markup=False, highlight=False)

    def served_at(self, name: str, address: str) -> None:
        """Name an address, now and in the live table."""
        self._addresses.append((name, address))
        self.say(f"{name}: {address}")

    def follow(self, reader_url: str) -> None:
        """From now on show the freshness that this database serves."""
        from lambda_pipeline.serving.layer import ServingLayer
        from lambda_pipeline.storage.engine import make_engine

        self._serving = ServingLayer(make_engine(reader_url, "screen", pool_size=1))
        self.say("Everything runs. Ctrl-C stops it.")

    def show(self, statuses: Sequence["Status"]) -> None:
        """Draw the present state, after whatever error our daemons have logged since the last time."""
        for status in statuses:
            if status.name in _OURS:
                self._pass_errors_on(status.name, status.log_file)
        self._read()
        if not self._console.is_terminal:
            self._print_line(statuses)
            return
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        self._live.update(Group(self._layers(), self._services(statuses), self._footer()))

    def _pass_errors_on(self, name: str, log_file: Path) -> None:
        """Show what a daemon logged as an error, e.g. that an API refuses its key: nobody reads a log unasked."""
        try:
            with log_file.open(encoding="utf-8", errors="replace") as log:
                size = log.seek(0, SEEK_END)
                log.seek(min(self._read_up_to.get(log_file, 0), size))
                lines = log.read().splitlines()
                self._read_up_to[log_file] = log.tell()
        except OSError:
            return
        for line in lines:
            _, is_error, message = line.partition(" ERROR ")
            if is_error:
                self.say(f"{name}: {message.partition(': ')[2]}")

    def _read(self) -> None:
        if self._serving is None or time.monotonic() < self._read_at + _READ_EVERY:
            return
        self._read_at = time.monotonic()
        try:
            self._freshness, self._problem = self._serving.get_freshness(), ""
        except (LambdaPipelineError, sa.exc.DBAPIError) as error:
            self._problem = str(error)

    def _rows(self) -> list[dict[str, object]]:
        return [] if self._freshness is None else self._freshness.to_dict("records")  # type: ignore[return-value]

    def _layers(self) -> Table:
        table = Table(title=f"{self._settings.city.name}: what is served", title_justify="left")
        for name in ("layer", "newest observation", "age", "observations", "hours"):
            table.add_column(name, justify="right" if name in ("age", "observations", "hours") else "left")
        clock = self._settings.city.clock()
        for row in self._rows():
            newest = row["newest_observation"]
            if not isinstance(newest, datetime) or pd.isna(newest):
                table.add_row(str(row["layer"]), "nothing yet", "", "0", "0")
                continue
            local = clock.local(newest)
            age = f"{float(row['age_seconds']):.0f} s"  # type: ignore[arg-type]
            table.add_row(
                str(row["layer"]), f"{local:%Y-%m-%d %H:%M:%S %Z}", age, f"{row['observations']:,}", str(row["hours"])
            )
        return table

    def _services(self, statuses: Sequence["Status"]) -> Table:
        table = Table(title="what runs", title_justify="left")
        for name in ("service", "state", "restarts", "log"):
            table.add_column(name)
        for status in statuses:
            style = "green" if status.state == "running" else "yellow"
            table.add_row(status.name, Text(str(status.state), style), str(status.restarts), str(status.log_file))
        return table

    def _footer(self) -> Text:
        lines = [f"{name}: {address}" for name, address in self._addresses]
        if self._problem:
            lines.append(self._problem)
        return Text("\n".join([*lines, "Ctrl-C stops everything."]))

    def _print_line(self, statuses: Sequence["Status"]) -> None:
        if time.monotonic() < self._line_at + _LINE_EVERY:
            return
        self._line_at = time.monotonic()
        parts = [f"{row['layer']} {row['observations']} observations" for row in self._rows()]
        down = [f"{status.name} {status.state}" for status in statuses if status.state != "running"]
        self._console.print("; ".join([*parts, *down, *([self._problem] if self._problem else [])]), markup=False)

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
