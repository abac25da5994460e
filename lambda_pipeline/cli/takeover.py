"""How `db upgrade` reports what it took over from the first system."""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

from lambda_pipeline.cli import common

if TYPE_CHECKING:
    from lambda_pipeline.storage.legacy_rows import TakeoverReport

_SHOWN_LOCATIONS = 10


def describe_takeover(report: "TakeoverReport", history_start: date) -> Iterator[str]:
    """The report's lines; `history_start` is what LAMBDA_HISTORY_START says at present."""
    yield f"{'':<16}{'rows':>12} = {'moved':>12} + {'joined':>12} + {'duplicates':>12} + {'rejected':>12}"
    for table in report.tables:
        yield (
            f"  {table.table:<14}{table.rows:>12} = {table.moved:>12} + {table.joined:>12} + {table.duplicates:>12} "
            f"+ {table.rejected:>12}"
        )
    if any(table.duplicates for table in report.tables):
        yield "Duplicates of a location and timestamp are kept whole in raw_data_duplicates."
    if any(table.rejected for table in report.tables):
        yield "Rejected rows are kept whole in raw_data_rejects, with the reason."
    mended = sum(table.mended for table in report.tables)
    if mended:
        yield f"{mended} rows had a measure out of range, which now counts as missing: see raw_data_rejects."
    if report.locations:
        shown = ", ".join(report.locations[:_SHOWN_LOCATIONS])
        more = len(report.locations) - _SHOWN_LOCATIONS
        yield f"{len(report.locations)} locations registered: {shown}{f' and {more} more' if more > 0 else ''}."
    yield "The old tables are in the schema legacy."
    if report.first is None or report.last is None:
        return
    days = (report.last - report.first).days + 1
    yield f"{report.observations} observations of {days} days, from {report.first} to {report.last}."
    if report.first < history_start:
        yield f"History now begins on {report.first}: set LAMBDA_HISTORY_START={report.first} (it is {history_start})."
    until = common.day_after(report.last)
    yield f"Publish them: lambda-pipeline backfill --from {report.first} --to {until}"
