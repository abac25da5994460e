"""The spool: a durable queue, whatever happens to its process, its disk or its file."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lambda_pipeline.errors import SpoolInUseError, SpoolUnavailableError
from lambda_pipeline.ingestion.spool import Record, Spool

MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ingest" / "spool.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    made = Spool(path, MIB)
    yield made
    made.close()


def pairs(count: int, size: int = 4) -> list[tuple[bytes, bytes]]:
    return [(b"key", number.to_bytes(size, "big")) for number in range(count)]


def values(records: list[Record]) -> list[bytes]:
    return [record.value for record in records]


def test_records_come_out_in_the_order_in_which_they_were_appended(spool: Spool) -> None:
    spool.append(pairs(3))
    spool.append([(b"other", b"last")])
    assert [(record.key, record.value) for record in spool.oldest(10)] == [*pairs(3), (b"other", b"last")]
    assert values(spool.oldest(2)) == [value for _, value in pairs(2)]


def test_reading_goes_on_behind_a_record(spool: Spool) -> None:
    spool.append(pairs(3))
    first = spool.oldest(1)[0]
    assert values(spool.oldest(10, after=first.id)) == [value for _, value in pairs(3)[1:]]


def test_a_read_is_bounded_in_bytes_too(spool: Spool) -> None:
    spool.append((b"key", b"x" * 3 * MIB) for _ in range(5))
    assert len(spool.oldest(1000)) == 3


def test_what_is_removed_is_gone_and_no_longer_counted(spool: Spool) -> None:
    spool.append(pairs(3))
    records = spool.oldest(10)
    spool.remove([records[0], records[2]])
    assert spool.oldest(10) == [records[1]]
    assert (spool.depth, spool.bytes) == (1, 7)
    spool.remove(records)
    assert (spool.depth, spool.bytes) == (0, 0)


def test_a_number_is_never_used_again(spool: Spool, path: Path) -> None:
    spool.append(pairs(2))
    last = spool.oldest(10)[-1].id
    spool.remove(spool.oldest(10))
    spool.close()
    again = Spool(path, MIB)
    again.append(pairs(1))
    assert again.oldest(10)[0].id > last
    again.close()


def test_the_folder_is_its_owners_alone(spool: Spool, path: Path) -> None:
    spool.open()
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_an_operator_can_look_while_it_is_in_use(spool: Spool, path: Path) -> None:
    spool.append(pairs(3))
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as other:
        assert other.execute("select count(*) from observations").fetchone() == (3,)
    other.close()
    spool.append(pairs(1))
    assert spool.depth == 4


def test_a_refused_record_is_kept_apart_with_its_reason(spool: Spool) -> None:
    spool.append(pairs(2))
    spool.set_aside(spool.oldest(1)[0], "too large")
    assert spool.refused() == [(*pairs(1)[0], "too large")]
    assert values(spool.oldest(10)) == [pairs(2)[1][1]]
    assert (spool.depth, spool.bytes) == (1, 14)


def test_a_drained_file_gives_its_space_back(spool: Spool, path: Path) -> None:
    spool.append(pairs(2000, size=4000))
    spool.remove(spool.oldest(1))
    assert path.stat().st_size > 4 * MIB
    while records := spool.oldest(1000):
        spool.remove(records)
    assert path.stat().st_size < MIB
    assert path.with_name("spool.db-wal").stat().st_size < MIB


def test_a_second_owner_is_refused_and_told_who_has_it(spool: Spool, path: Path) -> None:
    spool.open()
    second = Spool(path, MIB)
    with pytest.raises(
        SpoolInUseError, match=rf"spool\.db is in use by another ingest \(pid {os.getpid()}\)"
    ) as caught:
        second.open()
    assert "LAMBDA_HOME" in caught.value.next_action
    spool.close()
    second.open()
    second.close()


def test_once_closed_it_is_not_taken_again_by_a_late_call(spool: Spool, path: Path) -> None:
    spool.append(pairs(1))
    spool.close()
    with pytest.raises(SpoolUnavailableError, match="is closed"):
        spool.append(pairs(1))
    second = Spool(path, MIB)
    second.open()
    assert second.depth == 1
    second.close()


# ---------------------------------------------------------------- the disk


def test_a_folder_that_cannot_be_made_says_so_and_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "ingest").write_text("a file")
    spool = Spool(tmp_path / "ingest" / "spool.db", MIB)
    with pytest.raises(SpoolUnavailableError, match=r"ingest/spool\.db cannot be read or written: .*exists"):
        spool.append(pairs(1))
    (tmp_path / "ingest").unlink()
    spool.append(pairs(1))
    assert spool.depth == 1
    spool.close()


def broken(path: Path) -> list[Path]:
    return sorted(path.parent.glob("spool.db.broken-*"))


@pytest.mark.parametrize("damage", [b"not a database, but long enough to be read as one" * 100, b""])
def test_a_file_that_is_no_database_is_moved_aside_and_a_fresh_one_started(
    path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    spool = Spool(path, MIB)
    spool.append(pairs(1))
    assert spool.depth == 1
    spool.close()
    if damage:
        assert [moved.read_bytes() for moved in broken(path)] == [damage]
        assert broken(path)[0].name in caplog.text
    else:
        assert broken(path) == []


def test_a_page_that_breaks_while_in_use_is_found_and_numbering_goes_on(
    spool: Spool, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool.append(pairs(2000, size=4000))  # more than SQLite keeps in memory
    last = spool.oldest(1000)[-1]
    spool.close()
    spool.open()  # reads the file, and no longer the log beside it
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(SpoolUnavailableError):
        spool.oldest(5000)
    spool.append([(b"key", b"fresh")])
    assert [(record.id > last.id, record.value) for record in spool.oldest(10)] == [(True, b"fresh")]
    assert (spool.depth, spool.bytes) == (1, 8)
    assert len(broken(path)) == 1
    assert "is broken" in caplog.text
    spool.remove([last])
    assert spool.depth == 1


_APPENDER = """
import sys
from pathlib import Path
from lambda_pipeline.ingestion.spool import Spool
spool = Spool(Path(sys.argv[1]), 1 << 30)
start = len(spool.oldest(1_000_000))
for batch in range(1_000_000):
    rows = [(b"key", b"%d" % number) for number in range(start, start + 1 + batch % 7)]
    spool.append(rows)
    start += len(rows)
    print(start, flush=True)
"""


def test_what_was_reported_durable_survives_kills_in_the_middle_of_appending(path: Path) -> None:
    random_numbers = random.Random(7)
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", _APPENDER, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        durable = 0
        killer = None
        for line in child.stdout:  # to its end: what was reported before the kill counts
            durable = int(line)
            if killer is None:
                killer = threading.Timer(random_numbers.uniform(0.01, 0.2), child.send_signal, [signal.SIGKILL])
                killer.start()
        child.wait()
        child.stdout.close()
        spool = Spool(path, MIB)
        found = values(spool.oldest(1_000_000))
        assert len(found) >= durable > 0
        assert found == [b"%d" % number for number in range(len(found))]
        assert (spool.depth, spool.bytes) == (len(found), sum(3 + len(value) for value in found))
        spool.close()


# ---------------------------------------------------------------- against a model


class SpoolMachine(RuleBasedStateMachine):
    """Appending, reading, removing, setting aside and reopening, against a list."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.spool = Spool(Path(self.folder.name) / "spool.db", MIB)
        self.model: list[tuple[bytes, bytes]] = []
        self.refused: list[tuple[bytes, bytes]] = []

    @rule(rows=st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=5)), max_size=5))
    def append(self, rows: list[tuple[bytes, bytes]]) -> None:
        self.spool.append(rows)
        self.model += rows

    @rule(chosen=st.sets(st.integers(0, 9)))
    def remove(self, chosen: set[int]) -> None:
        records = self.spool.oldest(10)
        self.spool.remove([record for place, record in enumerate(records) if place in chosen])
        self.model = [pair for place, pair in enumerate(self.model) if place not in chosen]

    @rule(limit=st.integers(1, 20), skipped=st.integers(0, 5))
    def read(self, limit: int, skipped: int) -> None:
        after = ([0] + [record.id for record in self.spool.oldest(100)])[: skipped + 1]
        found = self.spool.oldest(limit, after=after[-1])
        assert [(record.key, record.value) for record in found] == self.model[len(after) - 1 :][:limit]

    @rule()
    def set_aside(self) -> None:
        for record in self.spool.oldest(1):
            self.spool.set_aside(record, "refused")
            self.refused.append((record.key, record.value))
            del self.model[0]

    @rule()
    def reopen(self) -> None:
        self.spool.close()
        self.spool.open()

    @invariant()
    def counts_and_numbers_hold(self) -> None:
        records = self.spool.oldest(1_000)
        numbers = [record.id for record in records]
        assert numbers == sorted(set(numbers))
        assert [(record.key, record.value) for record in records] == self.model
        assert self.spool.depth == len(self.model)
        assert self.spool.bytes == sum(len(key) + len(value) for key, value in self.model + self.refused)
        assert [(key, value) for key, value, _ in self.spool.refused()] == self.refused

    def teardown(self) -> None:
        self.spool.close()
        self.folder.cleanup()


TestSpoolAgainstAList = SpoolMachine.TestCase
TestSpoolAgainstAList.settings = settings(max_examples=40, stateful_step_count=20, deadline=None, derandomize=True)
