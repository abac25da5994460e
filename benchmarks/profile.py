"""Where a daemon's time goes, also seen from outside: PostgreSQL's own statement log, and py-spy's samples."""

import re
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from benchmarks.daemons import Daemon
from benchmarks.flood import Flood, flood_database
from benchmarks.load import LoadedTopic
from benchmarks.servers import Servers

_HZ = 100
_DURATION = re.compile(r"duration: ([0-9.]+) ms(?:  (?:parse|bind|execute) [^:]*)?(?:: |  statement: )?(.*)")
_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d \S+ \S+ \[(\d+)\] \S+@(\S+) LOG:  (.*)")
_SHOWN = 60  # characters of a statement
# Where the innermost frame waits, the first of these that any frame of the stack meets says what for.
WAIT = "wait"
_COMMITTERS = re.compile(r"^.*\bcommitter-\d+.*$")
_WAITING = re.compile(r"\b(select|poll) \(.*selectors\.py|\bwait \(.*threading\.py")
_WAITS: Sequence[tuple[str, re.Pattern[str]]] = (
    (f"{WAIT} for its turn", re.compile(r"\bCommitter\._await_turn ")),
    (f"{WAIT} for a batch to commit", re.compile(r"\bCommitter\._work ")),
    (f"{WAIT} for the commit before", re.compile(r"\bCommitter\.wait ")),
    (f"{WAIT} for Kafka", re.compile(r"\((.*/)?kafka/")),
    (WAIT, re.compile("")),
)
# Elsewhere the first pattern that a frame meets, from the innermost outwards.
KAFKA, DECOMPRESS = "Kafka client: fetch, checksum, parse", "Kafka client: decompress"
_KINDS: Sequence[tuple[str, re.Pattern[str]]] = (
    (DECOMPRESS, re.compile(r"\((.*/)?(kafka/codec|gzip|_compression)\.py")),
    (KAFKA, re.compile(r"\((.*/)?kafka/")),
    ("COPY: encode rows", re.compile(r"\((.*/)?psycopg/(_copy|copy|_py_transformer|types/)|copy_incoming|write_row")),
    ("wait for PostgreSQL", re.compile(r"\((.*/)?psycopg/|\(psycopg_binary/")),
    ("SQLAlchemy", re.compile(r"\((.*/)?sqlalchemy/")),
    ("decode and judge", re.compile(r"\((.*/)?lambda_pipeline/domain/")),
    ("COPY: encode rows", re.compile(r"\((.*/)?lambda_pipeline/storage/incoming")),
    ("the daemon's own code", re.compile(r"\((.*/)?lambda_pipeline/")),
)


@dataclass(frozen=True)
class Profile:
    """Of one flood: milliseconds and calls by statement on the server, and shares of each thread's wall time."""

    flood: Flood
    commits: int
    statements: dict[str, tuple[float, int]]
    threads: dict[str, dict[str, float]]
    hottest: dict[str, list[tuple[str, float]]]  # per thread: frames with their own share, with py-spy only


def run_profile(servers: Servers, loaded: LoadedTopic, py_spy: Path | None) -> Profile:
    """One flood with every statement of the daemon logged, and sampled by py-spy where there is one.

    Both cost a little, so the rate of this run is not one to report.
    """
    log = servers.postgres.log_file
    with servers.database() as database:
        with closing(database.connect()) as connection:
            connection.execute(
                sql.SQL("alter role lambda_writer in database {} set log_min_duration_statement = 0").format(
                    sql.Identifier(database.name)
                )
            )
        begin = log.stat().st_size
        samples = servers.home.logs / "py-spy.txt"
        started: list[subprocess.Popen[bytes]] = []
        marks: list[int] = []

        def on_start(running: Sequence[Daemon]) -> None:
            marks.append(log.stat().st_size - begin)
            if py_spy is not None:
                command = [str(py_spy), "record", "--pid", str(running[0].child.pid), "--format", "raw", "--threads"]
                command += ["--idle", "--nonblocking", "--rate", str(_HZ), "--duration", "600"]
                command += ["--output", str(samples)]
                started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        try:
            flood = flood_database(servers, loaded, database, on_start=on_start)
        finally:
            for process in started:
                process.send_signal(signal.SIGINT)  # it writes what it has
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()
        with log.open("rb") as file:
            file.seek(begin + marks[0])
            text = file.read().decode("utf-8", errors="replace")
    statements = parse_statements(text.splitlines(), database.name)
    threads, hottest = parse_samples(samples.read_text(encoding="utf-8").splitlines()) if samples.exists() else ({}, {})
    return Profile(flood, statements.get("COMMIT", (0.0, 0))[1], statements, threads, hottest)


def parse_statements(lines: Iterable[str], database: str) -> dict[str, tuple[float, int]]:
    """Milliseconds and executions by statement out of PostgreSQL's log, the slowest in sum first.

    A statement of the extended protocol is logged as parse, bind and execute; the three are one execution.
    """
    milliseconds: dict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for milli, is_execution, statement in _durations(lines, database):
        name = _short(statement)
        milliseconds[name] += milli
        calls[name] += is_execution
    found = {name: (total, calls[name]) for name, total in milliseconds.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def _durations(lines: Iterable[str], database: str) -> Iterable[tuple[float, bool, list[str]]]:
    current: tuple[float, bool, list[str]] | None = None
    for line in lines:
        head = _PREFIX.match(line)
        if head is None:
            if current is not None and line.startswith("\t"):
                current[2].append(line.strip())
            continue
        if current is not None:
            yield current
        current = None
        found = _DURATION.match(head[3]) if head[2] == database else None
        if found is not None:
            is_execution = not re.match(r"duration: \S+ ms  (parse|bind) ", head[3])
            current = (float(found[1]), is_execution, [found[2].strip()])
    if current is not None:
        yield current


def _short(lines: list[str]) -> str:
    """A statement's first words, its leading comments left out."""
    code = " ".join(line for line in lines if line and not line.startswith("--"))
    if code.lower().startswith("with "):  # what it does is further on
        inside = re.search(r"insert into \w+|update \w+|delete from \w+", code)
        code = f"{inside[0]} …" if inside else code
    return code if len(code) <= _SHOWN else code[: _SHOWN - 1] + "…"


def parse_samples(lines: Iterable[str]) -> tuple[dict[str, dict[str, float]], dict[str, list[tuple[str, float]]]]:
    """Shares of each thread's samples by kind, and its hottest frames, out of py-spy's raw output."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    frames: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        stack, _, times = line.rpartition(" ")
        thread, *calls = stack.split(";")
        thread = _COMMITTERS.sub("both: committer", thread)  # told of as one
        if calls:
            kinds[thread][_kind(calls)] += int(times)
            frames[thread][calls[-1]] += int(times)
    shares = {
        thread: {kind: number / counted.total() for kind, number in counted.most_common()}
        for thread, counted in kinds.items()
    }
    hottest = {
        thread: [(frame, number / counted.total()) for frame, number in counted.most_common(12)]
        for thread, counted in frames.items()
    }
    return shares, hottest


def _kind(calls: list[str]) -> str:
    if _WAITING.search(calls[-1]):
        return next(kind for kind, pattern in _WAITS if any(map(pattern.search, calls)))
    for call in reversed(calls):
        for kind, pattern in _KINDS:
            if pattern.search(call):
                return kind
    return "other"
