"""The retention floor: the first instant that raw_data still has. What is older is in the archive alone."""

from datetime import datetime

import sqlalchemy as sa


def hold_months(connection: sa.Connection) -> None:
    """No month of raw_data is dropped until the transaction ends. To be its first statement, before any snapshot.

    A snapshot of before a drop would still see the old floor, but no rows below it.
    """
    connection.execute(sa.text("lock table only raw_data in access share mode"))


def raw_floor(connection: sa.Connection) -> datetime | None:
    """The first instant of raw_data, in aware UTC; None where nothing was ever dropped."""
    found: datetime | None = connection.execute(sa.text("select floor_at from raw_floor")).scalar()
    return found
