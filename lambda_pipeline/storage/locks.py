"""The advisory locks of the protocol. Each is held by a transaction and goes with it."""

from collections.abc import Iterable

import sqlalchemy as sa

# Two-part keys: ours, then which. Any constant will do, as long as it never changes.
_SPACE = 0x1A3BDA
_PUBLISH, _RAW, _DAY, _MIGRATE = 1, 2, 3, 4
_LOG_PARTITION = 1000  # plus its id


def hold_publish(connection: sa.Connection) -> None:
    """Exclusively, for a swap: no speed commit and no other swap runs meanwhile."""
    connection.execute(sa.text("select pg_advisory_xact_lock(:space, :key)"), {"space": _SPACE, "key": _PUBLISH})


def hold_publish_shared(connection: sa.Connection) -> None:
    """Shared, for a speed commit: many at once, none during a swap."""
    connection.execute(sa.text("select pg_advisory_xact_lock_shared(:space, :key)"), {"space": _SPACE, "key": _PUBLISH})


def hold_raw(connection: sa.Connection) -> None:
    """Exclusively, for imports and whatever else stores into raw_data, or changes what is stored there: alone."""
    connection.execute(sa.text("select pg_advisory_xact_lock(:space, :key)"), {"space": _SPACE, "key": _RAW})


def hold_raw_shared(connection: sa.Connection, log_partitions: Iterable[int]) -> None:
    """Shared, for a chunk of the log: others of other log partitions at once, of these ones none."""
    connection.execute(sa.text("select pg_advisory_xact_lock_shared(:space, :key)"), {"space": _SPACE, "key": _RAW})
    connection.execute(  # all in the same order, so that no two wait for each other
        sa.text(
            "select pg_advisory_xact_lock(:space, id) "
            "from (select unnest(cast(:ids as integer[])) as id order by 1) as ordered"
        ),
        {"space": _SPACE, "ids": [_LOG_PARTITION + number for number in log_partitions]},
    )


def hold_days(connection: sa.Connection) -> None:
    """Exclusively, for the computation of day tables."""
    connection.execute(sa.text("select pg_advisory_xact_lock(:space, :key)"), {"space": _SPACE, "key": _DAY})


def hold_migration(connection: sa.Connection) -> None:
    """Exclusively, for an upgrade of the schema."""
    connection.execute(sa.text("select pg_advisory_xact_lock(:space, :key)"), {"space": _SPACE, "key": _MIGRATE})
