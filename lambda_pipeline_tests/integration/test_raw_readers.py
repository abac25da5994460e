"""Several processes that read the log at once: the same rows as one, whoever dies, and whatever else stores."""

import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

import psutil
import pytest
import sqlalchemy as sa

from lambda_pipeline.batch import raw_share
from lambda_pipeline.batch.raw_data import advance_raw_data, import_observations
from lambda_pipeline.batch.raw_share import RawRun
from lambda_pipeline.batch.raw_store import load_frontiers
from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.observation import encode
from lambda_pipeline.errors import DatabaseUnavailableError, LogReaderError
from lambda_pipeline.storage.deployment import register_locations
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.integration.observations import HOUR, MALFORMED, observed, publish, seen
from lambda_pipeline_tests.integration.streams import Stream
from lambda_pipeline_tests.processes import wait_for
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration
TABLES = ("raw_data", "raw_frontier", "raw_hours", "dead_letters")
CHUNK_AND_MORE = raw_share.CHUNK_RECORDS + 3_000
_GATE = 4242  # an advisory lock of the tests'
_WAITING = (
    "select count(*) from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory' and not granted "
    "and objid = :key and datname = current_database() and application_name like :who"
)


@pytest.fixture(autouse=True)
def every_share_is_worth_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_share, "LEAST_SHARE", 1)


@pytest.fixture
def make_stream(database: Database, kafka: KafkaConnection, topic_name: str) -> Iterator[Callable[[int], Stream]]:
    """Makes the test's topic, of so many partitions."""
    made: list[Stream] = []

    def make(partitions: int) -> Stream:
        made.append(Stream(database, kafka, topic_name, partitions))
        return made[-1]

    yield make
    for stream in made:
        stream.close()


def values(count: int, location: str, start: int = 0) -> list[bytes]:
    """Observations of a place, one a second; every thousandth is followed by poison and by its own like."""
    found = []
    for second in range(start, start + count):
        found.append(encode(seen(second / 60, location, aqi=second % 300)))
        if second % 1000 == 999:
            found += [MALFORMED, encode(seen(second / 60, location, aqi=1))]
    return found[:count]


def contents(database: Database) -> dict[str, list[str]]:
    """What is stored, but for what every storing makes anew."""
    without = " - 'id' - 'created_at' - 'updated_at'"
    return {
        table: [row[0] for row in database.rows(f"select (to_jsonb(t){without})::text from {table} t order by 1")]
        for table in TABLES
    }


def children(process: int | None = None) -> list[psutil.Process]:
    """The readers that a process has started."""
    found = []
    for child in psutil.Process(process).children():
        with suppress(psutil.NoSuchProcess):
            if "lambda_pipeline.batch.raw_reader" in child.cmdline():
                found.append(child)
    return found


def assert_each_record_is_stored_once(stream: Stream, ends: Sequence[int]) -> None:
    """Frontiers at the ends, no row or dead letter without its record, and the hours counted as the rows are."""
    database = stream.database
    assert stream.frontiers() == list(enumerate(ends))
    counted = "select hour_start, log_partition, count(*), max(log_offset) from raw_data group by 1, 2 order by 1, 2"
    noted = "select hour_start, log_partition, rows, max_offset from raw_hours order by 1, 2"
    assert database.rows(counted) == database.rows(noted)
    twice = "select count(*) from raw_data join dead_letters using (log_partition, log_offset)"
    assert database.scalar(twice) == 0


@contextmanager
def gate(stream: Stream, partition: int, offset: int) -> Iterator[None]:
    """Whoever moves a partition's frontier so far waits for the block's end, with all of the chunk inserted."""
    database = stream.database
    with transaction(database.owner) as connection:
        connection.execute(
            sa.text(
                "create or replace function wait_at_the_gate() returns trigger language plpgsql as $$ begin "
                f"if new.next_offset >= {offset} and {partition} = (select partition from log_partitions "
                f"where id = new.log_partition) then perform pg_advisory_xact_lock({_GATE}); end if; "
                "return new; end $$"
            )
        )
        connection.execute(
            sa.text(
                "create or replace trigger wait_at_the_gate before insert or update on raw_frontier "
                "for each row execute function wait_at_the_gate()"
            )
        )
    with database.owner.connect() as holder:
        holder.execute(sa.text(f"select pg_advisory_lock({_GATE})"))
        yield
        holder.execute(sa.text(f"select pg_advisory_unlock({_GATE})"))


def waits_at_the_gate(database: Database) -> bool:
    return bool(database.scalar(_WAITING, key=_GATE, who="%"))


def waits_for_the_raw_lock(database: Database, who: str) -> bool:
    return bool(database.scalar(_WAITING, key=2, who=f"lambda-pipeline {who}"))


# ---------------------------------------------------------------- the same as one


def test_three_readers_store_what_one_stores(make_stream: Callable[[int], Stream]) -> None:
    stream = make_stream(4)
    parts = [
        values(CHUNK_AND_MORE, "Krukut"), values(9_000, "Cinere"), values(8_000, "Gunung"), values(50, "Kemayoran")
    ]  # fmt: skip
    for number, part in enumerate(parts):
        stream.produce(*part, partition=number)
    alone = stream.advance()
    expected = contents(stream.database)
    with transaction(stream.database.owner) as connection:
        connection.execute(sa.text(f"truncate {', '.join(TABLES)}"))

    told: list[tuple[int, int]] = []
    run = stream.advance(readers=3, on_progress=lambda *progress: told.append(progress))
    assert (alone.readers, run.readers) == (1, 3)
    run.readers = 1
    assert run == alone
    assert contents(stream.database) == expected
    ends = [len(part) for part in parts]
    assert_each_record_is_stored_once(stream, ends)
    assert alone.records == sum(ends)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (sum(ends), sum(ends))
    assert {total for _, total in told} == {sum(ends)}
    assert stream.advance(readers=3) == RawRun()


def test_no_more_readers_than_partitions_with_something_to_read(make_stream: Callable[[int], Stream]) -> None:
    stream = make_stream(4)
    stream.produce(*values(20, "Krukut"), partition=1)
    stream.produce(*values(20, "Cinere"), partition=3)
    run = stream.advance(readers=8)
    assert (run.readers, run.stored) == (2, 40)
    assert sorted(run.positions) == [f"{stream.name}[1]", f"{stream.name}[3]"]


def test_an_observation_in_two_partitions_is_stored_by_one_of_their_readers(
    make_stream: Callable[[int], Stream], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lambda_pipeline")
    stream = make_stream(2)
    same = [encode(seen(second / 60, aqi=second % 300)) for second in range(6_000)]
    stream.produce(*same, partition=0)
    stream.produce(*reversed(same), partition=1)
    run = stream.advance(readers=2)
    assert (run.readers, run.records, run.stored) == (2, 12_000, 6_000)
    assert stream.database.scalar("select count(*) from raw_data") == 6_000
    assert_each_record_is_stored_once(stream, [6_000, 6_000])
    assert "lost against another" not in caplog.text, "they wait for each other in one order"


def test_imports_and_the_speed_layer_go_on_while_several_read(make_stream: Callable[[int], Stream]) -> None:
    stream, database = make_stream(2), make_stream(2).database
    logged = [seen(second / 60) for second in range(3_000)]
    stream.produce(*logged, partition=0)
    stream.produce(*(seen(second / 60, "Cinere") for second in range(CHUNK_AND_MORE)), partition=1)
    imported = observed(database, *logged[:500], *(seen(second / 60, "Gunung") for second in range(500)))
    runs: list[RawRun] = []
    with gate(stream, 1, CHUNK_AND_MORE):
        thread = threading.Thread(target=lambda: runs.append(stream.advance(readers=2)))
        thread.start()
        wait_for(lambda: waits_at_the_gate(database), "the raw lock is held with a chunk inserted")
        assert stream.consume(2_000) >= 0, "a speed commit needs no raw lock"
        importing = threading.Thread(
            target=lambda: import_observations(make_engine(database.url(), "import"), imported, "import:test")
        )
        importing.start()
        wait_for(lambda: waits_for_the_raw_lock(database, "import"), "an import waits for it")
    for one in (thread, importing):
        one.join(60)
        assert not one.is_alive()
    assert [run.records for run in runs] == [3_000 + CHUNK_AND_MORE]
    assert stream.consume(3_000) >= 0
    hours = [HOUR + timedelta(hours=number) for number in range(CHUNK_AND_MORE // 3600 + 1)]
    publish(database, *hours)
    expected = [("Cinere", CHUNK_AND_MORE), ("Gunung", 500), ("Krukut", 3_000)]
    for table in ("raw_data", "served_observations"):
        found = f"select location, count(distinct timestamp), count(*) from {table} group by 1 order by 1"
        assert database.rows(found) == [(place, count, count) for place, count in expected], table
    assert database.scalar("select count(*) from realtime_data") == 0


# ---------------------------------------------------------------- ends


class Advance:
    """A run with two readers in a thread; what it raised."""

    def __init__(self, stream: Stream) -> None:
        self.error: BaseException | None = None
        self._stream = stream
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._stream.advance(readers=2)
        except BaseException as error:
            self.error = error

    def wait(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def two_parts(make_stream: Callable[[int], Stream]) -> Stream:
    """Two partitions: the longer one, which the run reads itself, and one of more than a chunk."""
    stream = make_stream(2)
    stream.produce(*values(CHUNK_AND_MORE + 100, "Krukut"), partition=0)
    stream.produce(*values(CHUNK_AND_MORE, "Cinere"), partition=1)
    return stream


ENDS = [CHUNK_AND_MORE + 100, CHUNK_AND_MORE]


def test_a_reader_that_is_killed_leaves_nothing_half_done(two_parts: Stream, capfd: pytest.CaptureFixture[str]) -> None:
    database = two_parts.database
    with gate(two_parts, 1, ENDS[1]):
        run = Advance(two_parts)
        wait_for(lambda: waits_at_the_gate(database), "a reader is in the middle of its last chunk")
        (reader,) = children()
        shown = " ".join([*reader.cmdline(), *map(str, reader.environ().values())])
        assert database.name not in shown, "what it works with is said to it alone"
        reader.kill()
        run.wait()
    assert isinstance(run.error, LogReaderError)
    assert run.error.message == f"a reader of the log (process {reader.pid}) was ended by signal 9 (Killed)."
    assert "LAMBDA_RAW_READERS" in run.error.next_action
    assert "Traceback" not in capfd.readouterr().err
    assert children() == []
    stored = dict(two_parts.frontiers())
    assert 0 < stored[1] < ENDS[1]
    kept = "select count(*) from raw_data join log_partitions p on p.id = log_partition where p.partition = 1"
    beyond = f"{kept} and log_offset >= :end"
    assert database.scalar(kept)
    assert database.scalar(beyond, end=stored[1]) == 0
    assert two_parts.advance(readers=2).records == sum(ENDS) - sum(stored.values())
    assert_each_record_is_stored_once(two_parts, ENDS)


def advance_elsewhere(url: str, kafka: str, topic: str) -> None:
    """A run with two readers, in a process of its own."""
    raw_share.LEAST_SHARE = 1
    advance_raw_data(make_engine(url, "batch", BATCH_TIMEOUTS), KafkaConnection(kafka), topic, readers=2)


def test_a_run_that_is_killed_leaves_no_reader_behind(two_parts: Stream) -> None:
    database = two_parts.database
    arguments = database.url(), two_parts.connection.bootstrap_servers, two_parts.name
    with gate(two_parts, 1, ENDS[1]):
        run = multiprocessing.get_context("spawn").Process(target=advance_elsewhere, args=arguments)
        run.start()
        wait_for(lambda: waits_at_the_gate(database), "a reader is in the middle of its last chunk")
        (reader,) = children(run.pid)
        run.kill()
        run.join(30)
        wait_for(lambda: not reader.is_running() or reader.status() == psutil.STATUS_ZOMBIE, "the reader ends", 20)
        wait_for(lambda: not waits_at_the_gate(database), "its transaction ends", 20)
    two_parts.advance(readers=2)
    assert_each_record_is_stored_once(two_parts, ENDS)


def test_a_run_that_is_interrupted_ends_its_readers(two_parts: Stream) -> None:
    started: list[psutil.Process] = []

    def interrupt(_done: int, _total: int) -> None:
        started.extend(children())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two_parts.advance(readers=2, on_progress=interrupt)
    assert len(started) == 1
    assert not started[0].is_running()
    two_parts.advance(readers=2)
    assert_each_record_is_stored_once(two_parts, ENDS)


@pytest.fixture
def one_session_only(database: Database) -> Iterator[None]:
    """PostgreSQL lets the writer in once: this process, whose connection is there already, and no reader."""
    load_frontiers(database.writer)

    def limit(sessions: int) -> None:
        with database.postgres_connection() as connection:
            connection.execute(f"alter role lambda_writer connection limit {sessions}".encode())

    limit(1)
    yield
    limit(-1)


@pytest.mark.usefixtures("one_session_only")
def test_what_fails_in_a_reader_is_raised_as_if_it_were_here(
    two_parts: Stream, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DatabaseUnavailableError, match="too many connections for role"):
        two_parts.advance(readers=2)
    assert "Traceback" not in capfd.readouterr().err
    assert children() == []


def test_what_nobody_expected_in_a_reader_is_told_too(two_parts: Stream, capfd: pytest.CaptureFixture[str]) -> None:
    with transaction(two_parts.database.owner) as connection:
        connection.execute(sa.text("alter table raw_data add constraint no_cinere check (location <> 'Cinere')"))
    with pytest.raises(LogReaderError, match=r"a reader of the log failed: IntegrityError: .*no_cinere"):
        two_parts.advance(readers=2)
    assert "IntegrityError" in capfd.readouterr().err, "with the traceback in the log"


def test_a_catalogue_that_changes_meanwhile_makes_a_reader_judge_again(
    two_parts: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lambda_pipeline")
    database = two_parts.database
    two_parts.produce(*(seen(minute, "New Place") for minute in range(50)), partition=1)
    with gate(two_parts, 1, 1):
        run = Advance(two_parts)
        wait_for(lambda: waits_at_the_gate(database), "a reader is in the middle of its first chunk")
        adding = threading.Thread(target=add, args=(database, "New Place"))
        adding.start()
        wait_for(lambda: waits_for_the_raw_lock(database, "test owner"), "the change comes before its second chunk")
    adding.join(60)
    run.wait()
    assert run.error is None
    assert_each_record_is_stored_once(two_parts, [ENDS[0], ENDS[1] + 50])
    assert database.scalar("select count(*) from raw_data where location = 'New Place'") == 50
    said = {(one.module, one.name) for one in caplog.records if "going on from the frontiers" in one.message}
    assert ("raw_parallel", "lambda_pipeline.batch.raw_share") in said, "what a reader logs is in the run's log"


def add(database: Database, name: str) -> None:
    with transaction(database.owner) as connection:
        register_locations(connection, [Location(name, None, -6.1, 106.8)], "import")


def test_a_reader_without_a_run_does_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "lambda_pipeline.batch.raw_reader"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, env=os.environ,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
