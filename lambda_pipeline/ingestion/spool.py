"""The spool: observations on disk, from the moment they are published until Kafka has acknowledged them.

SQLite keeps them, in WAL mode with `synchronous=FULL`: a commit that returned is on the disk, and whatever kills the
process or the machine leaves the file as it was after the last one. That is a format, a recovery and a crash test suite
that need not be written here, and `sqlite3 spool.db` shows an operator what waits.

One process at a time owns a spool, by an flock on a file beside it and not by SQLite's own locks: those would keep an
operator from looking, and would not cover the moment in which a broken file is moved aside and a fresh one made.
"""

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from lambda_pipeline.errors import SpoolInUseError, SpoolUnavailableError

log = logging.getLogger(__name__)

# AUTOINCREMENT, so that no number is ever used again: whoever reads on behind the last one it saw misses nothing.
_SCHEMA = """\
create table if not exists observations (id integer primary key autoincrement, key blob not null, value blob not null);
create table if not exists refused (
  id integer primary key autoincrement, key blob not null, value blob not null, reason text not null, at text not null
);
"""
_COUNT = """\
select count(*) filter (where waits), coalesce(sum(size), 0)
from (
  select true as waits, length(key) + length(value) as size from observations
  union all
  select false, length(key) + length(value) from refused
)
"""
# Also in the fresh file that replaces a broken one.
_GO_ON_NUMBERING = """\
insert into sqlite_sequence
select 'observations', ? where not exists (select 1 from sqlite_sequence where name = 'observations')
"""
_WINDOW_BYTES = 8 << 20
_SLACK_PAGES = 256  # of 4 KiB, that an empty file may keep
_FREED_AT_ONCE = 4096  # pages: some tenths of a second, for nothing is stored meanwhile
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Record(NamedTuple):
    """A spooled record; numbers grow in the order of `append` and are never used again."""

    id: int
    key: bytes
    value: bytes


class Spool:
    """A durable queue in the file `path`, for at most about `max_bytes` of keys and values. Safe to share by threads.

    The bound is for the caller to watch (`bytes`): `append` never refuses for it, so that nothing is dropped. What
    Kafka refused for itself is kept apart, within the same bound, for somebody to look at. Every method raises
    SpoolUnavailableError where the disk does not do it, and works again once the disk does. A broken file is moved
    aside with an error in the log, never deleted.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.depth = 0  # records
        self.bytes = 0  # of their keys and values, and of the refused ones
        self._mutex = threading.RLock()
        self._lock_file: IO[str] | None = None
        self._database: sqlite3.Connection | None = None
        self._is_closed = False
        self._is_checked = False
        self._seen = 0  # the highest number that `oldest` gave out

    def open(self) -> None:
        """Own and open the spool, as every other method does that needs to. Raises SpoolInUseError, too."""
        with self._guarded():
            self._is_closed = False
            self._opened()

    def append(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Store keys and values, in this order, all or none. On the disk when this returns."""
        rows = list(records)
        with self._mutex:
            with self._changing() as database:
                database.executemany("insert into observations (key, value) values (?, ?)", rows)
            self.depth += len(rows)
            self.bytes += sum(len(key) + len(value) for key, value in rows)

    def oldest(self, limit: int, after: int = 0) -> list[Record]:
        """The first records with a number above `after`: at most `limit`, and not many more than 8 MiB."""
        found: list[Record] = []
        size = 0
        with self._guarded():
            query = "select id, key, value from observations where id > ? order by id limit ?"
            for row in self._opened().execute(query, (after, limit)):
                found.append(Record(*row))
                size += len(row[1]) + len(row[2])
                if size >= _WINDOW_BYTES:
                    break
            if found:
                self._seen = max(self._seen, found[-1].id)
        return found

    def remove(self, records: Sequence[Record]) -> None:
        """Forget records, all or none. Whenever nothing is left, some of the file's space is given back to the disk."""
        with self._mutex:
            with self._changing() as database:
                gone = [record for record in records if _delete(database, record)]
            self._uncount(gone)
            if gone and self.depth == 0:
                self._give_back()

    def set_aside(self, record: Record, reason: str) -> None:
        """Keep a record that Kafka will never take among the refused ones."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._mutex:
            with self._changing() as database:
                was_there = _delete(database, record)
                query = "insert into refused (key, value, reason, at) values (?, ?, ?, ?)"
                database.execute(query, (record.key, record.value, reason, now))
            if was_there:
                self.depth -= 1
            else:
                self.bytes += len(record.key) + len(record.value)

    def refused(self) -> list[tuple[bytes, bytes, str]]:
        """Key, value and reason of what was set aside, oldest first."""
        with self._guarded():
            return self._opened().execute("select key, value, reason from refused order by id").fetchall()

    def close(self) -> None:
        """Give the spool up, until it is opened again: a thread that comes late does not take it back."""
        with self._mutex:
            self._is_closed = True
            self._disconnect()
            if self._lock_file is not None:
                self._lock_file.close()
                self._lock_file = None

    def _opened(self) -> sqlite3.Connection:
        if self._is_closed:
            raise SpoolUnavailableError(f"The spool {self.path} is closed.")
        if self._lock_file is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_file = _own(self.path.with_name(f"{self.path.name}.lock"), self.path)
        if self._database is None:
            try:
                self._database = self._connected()
            except sqlite3.DatabaseError as error:
                if not _is_broken(error):
                    raise
                self._move_aside(error)
                self._database = self._connected()
        return self._database

    def _connected(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            database.execute("pragma auto_vacuum = incremental")
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = full")
            database.execute(f"pragma journal_size_limit = {_WINDOW_BYTES}")
            if not self._is_checked and (found := database.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
                raise _broken(str(found))
            database.executescript(_SCHEMA)
            self.depth, self.bytes = database.execute(_COUNT).fetchone()
            database.execute(_GO_ON_NUMBERING, (self._seen,))
        except BaseException:
            database.close()
            raise
        self._is_checked = True
        return database

    def _disconnect(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """One caller at a time, and the disk's errors as ours. A file found broken is replaced by the next call."""
        with self._mutex:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                self._disconnect()  # handles of a disk that was full or away are not to be relied on
                if _is_broken(error):
                    self._is_checked = False
                raise SpoolUnavailableError(
                    f"The spool {self.path} cannot be read or written: {error}.",
                    "Is the disk full, or does the folder belong to another user? It is tried again by itself.",
                ) from error

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._guarded():
            database = self._opened()
            database.execute("begin immediate")
            try:
                yield database
                database.execute("commit")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk ends the transaction by itself
                    database.execute("rollback")
                raise

    def _uncount(self, records: Sequence[Record]) -> None:
        self.depth -= len(records)
        self.bytes -= sum(len(record.key) + len(record.value) for record in records)

    def _give_back(self) -> None:
        """Shrink the file after a long outage, step by step; by `executescript`, since `execute` frees but one page."""
        with self._guarded():
            database = self._opened()
            if database.execute("pragma freelist_count").fetchone()[0] > _SLACK_PAGES:
                database.executescript(f"pragma incremental_vacuum({_FREED_AT_ONCE}); pragma wal_checkpoint(truncate);")

    def _move_aside(self, error: Exception) -> None:
        moved = self.path.with_name(f"{self.path.name}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        with suppress(FileNotFoundError):
            self.path.rename(moved)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{moved}{suffix}")
        self.depth = self.bytes = 0
        log.error(
            "the spool %s is broken (%s) and was moved to %s; a fresh one is started. What it holds has not reached "
            "Kafka: `sqlite3 %s .recover` shows it.",
            self.path,
            error,
            moved,
            moved,
        )


def _own(path: Path, spool: Path) -> IO[str]:
    """The lock file, locked: free the moment its holder dies, however it dies. Raises SpoolInUseError."""
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise SpoolInUseError(
            f"The spool {spool} is in use by another ingest{f' (pid {holder})' if holder else ''}.",
            "Stop that one first, or set LAMBDA_HOME to another folder.",
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _delete(database: sqlite3.Connection, record: Record) -> bool:
    """Whether it was there: a commit that failed may yet have been one, and is made again."""
    return database.execute("delete from observations where id = ?", (record.id,)).rowcount > 0


def _broken(found: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(found)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _is_broken(error: Exception) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _BROKEN
