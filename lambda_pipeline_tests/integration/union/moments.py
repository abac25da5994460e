"""Something happens between two statements of a transaction, within one, or just after its commit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import sqlalchemy as sa

from lambda_pipeline.storage.engine import transaction

Way = Literal["raises", "vanishes", "within a statement", "after the commit"]

# Any row of any table may be the last that a session writes. A server process that ends itself is one that is killed.
_DIE_AT_A_ROW = """
create function die_at_a_row() returns trigger language plpgsql as $$
declare
    rows_left integer := nullif(current_setting('proof.rows_left', true), '')::integer;
begin
    if rows_left = 0 then
        perform pg_terminate_backend(pg_backend_pid());
        perform pg_sleep(60);
    end if;
    perform set_config('proof.rows_left', (rows_left - 1)::text, true);
    return coalesce(new, old);
end $$
"""


class DiedError(Exception):
    """The process that ran the transaction is no more."""


class Moments:
    """Watches an engine's transactions. A moment lies before each statement and before each commit."""

    def __init__(self, engine: sa.Engine) -> None:
        self._action: Callable[[sa.Connection], None] | None = None
        self._action_after: Callable[[sa.Connection], None] | None = None
        self._rows: int | None = None
        self._left = 0
        self._is_new = True
        self.committed = 0  # transactions since it was last told what to do
        sa.event.listen(engine, "begin", self._on_begin)
        sa.event.listen(engine, "before_cursor_execute", self._on_statement)
        sa.event.listen(engine, "commit", self._on_commit)

    @contextmanager
    def at(self, moment: int, action: Callable[[sa.Connection], None]) -> Iterator[None]:
        """Have something happen at a moment, counted from 0, of what a block does."""
        self._left, self._action, self.committed = moment, action, 0
        try:
            yield
        finally:
            self._action = self._action_after = self._rows = None

    @contextmanager
    def dying(self, way: Way, moment: int) -> Iterator[None]:
        """Let what a block does come to an end at a moment; within a statement, at that row."""
        if way == "within a statement":
            with self.at(-1, _raise):
                self._rows = moment
                yield
        elif way == "after the commit":
            with self.at(moment, self._die_after):
                yield
        else:
            with self.at(moment, _raise if way == "raises" else _vanish):
                yield

    def _die_after(self, _: sa.Connection) -> None:
        self._action_after = _vanish

    def _on_begin(self, _: sa.Connection) -> None:
        self._is_new = True

    def _on_statement(self, connection: sa.Connection, *_: object) -> None:
        if self._rows is not None and self._is_new:
            self._is_new = False
            driver(connection).cursor().execute(f"select set_config('proof.rows_left', '{self._rows}', true)")
        self._pass(connection)

    def _on_commit(self, connection: sa.Connection) -> None:
        self._pass(connection)
        if self._action_after is not None:
            driver(connection).commit()
            self.committed += 1
            self._action_after(connection)
        self.committed += 1

    def _pass(self, connection: sa.Connection) -> None:
        if self._action is not None:
            action, self._left = self._action, self._left - 1
            if self._left == -1:
                action(connection)


def prepare_deaths(owner: sa.Engine, tables: tuple[str, ...]) -> None:
    """Make it possible to die at any row of these tables."""
    with transaction(owner) as connection:
        connection.execute(sa.text(_DIE_AT_A_ROW))
        for table in tables:
            connection.execute(
                sa.text(
                    f"create trigger die_at_a_row before insert or update or delete on {table} for each row "
                    "when (current_setting('proof.rows_left', true) <> '') execute function die_at_a_row()"
                )
            )


def driver(connection: sa.Connection) -> Any:
    """The driver's connection, whose statements are no moments."""
    return connection.connection.driver_connection


def _raise(_: sa.Connection) -> None:
    raise DiedError


def _vanish(connection: sa.Connection) -> None:
    """The server sees no more than a connection that ends."""
    driver(connection).close()
    raise DiedError
