"""Downloads: exactly the rows that a filter leaves, written when somebody asks for them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import IO, Any, Final, Protocol

from dashboard.reading import Choice, Serving
from lambda_pipeline.serving.choices import Format
from lambda_pipeline.serving.raw_choice import RawFilter

ROWS_DOWNLOADED: Final = 1_000_000  # at most: the file is made in memory, about 150 bytes a row as CSV
MIME: Final = {Format.CSV: "text/csv", Format.PARQUET: "application/vnd.apache.parquet"}


class Export(Protocol):
    """`lambda_pipeline.serving.export.export_raw`: write what matches, oldest first; returns the rows."""

    def __call__(
        self,
        view: Any,
        start: date,
        end: date,
        locations: Sequence[str] | None,
        where: RawFilter,
        form: Format,
        out: IO[bytes],
        *,
        at_most: int,
    ) -> int: ...


@dataclass(frozen=True, slots=True)
class Downloads:
    """Where downloads come from."""

    serving: Serving
    export: Export

    def raw(self, choice: Choice, where: RawFilter, form: Format) -> bytes:
        """The observations of a choice as a file. Raises TooMuchError, DatabaseUnavailableError."""
        out = io.BytesIO()
        with self.serving.snapshot() as view:
            self.export(view, choice.start, choice.end, choice.wanted, where, form, out, at_most=ROWS_DOWNLOADED)
        return out.getvalue()
