"""SQL of several statements at once: migrations, settings of a transaction."""

import sqlalchemy as sa

from lambda_pipeline.storage.incoming import driver_connection


def run_script(connection: sa.Connection, script: str, as_role: str | None = None) -> None:
    """Run a file of several statements in the connection's transaction, as another role if one is named."""
    with driver_connection(connection).cursor() as cursor:
        if as_role:
            cursor.execute(f"set local role {as_role}")
        cursor.execute(script)
        cursor.execute("reset role")
