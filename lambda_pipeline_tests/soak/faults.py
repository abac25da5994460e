"""What goes wrong in a soak: each fault lasts for as long as a block runs, and is made good at its end."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import psutil

from lambda_pipeline_tests.faults.misbehaving import MISBEHAVIOURS
from lambda_pipeline_tests.faults.stage import frozen
from lambda_pipeline_tests.processes import Daemon
from lambda_pipeline_tests.soak.stage import LONGEST_JUMP, Soak

Fault = Callable[[Soak], AbstractContextManager[None]]


@contextmanager
def postgres_killed(soak: Soak) -> Iterator[None]:
    soak.servers.postgres.kill()
    yield
    soak.servers.postgres.start()


@contextmanager
def postgres_stopped(soak: Soak) -> Iterator[None]:
    soak.servers.postgres.stop()
    yield
    soak.servers.postgres.start()


@contextmanager
def postgres_frozen(soak: Soak) -> Iterator[None]:
    with frozen(soak.servers.postgres.pid):
        yield


@contextmanager
def kafka_killed(soak: Soak) -> Iterator[None]:
    soak.servers.kafka.kill()
    yield
    soak.note_durable()
    soak.servers.kafka.start(progress=False)


@contextmanager
def kafka_stopped(soak: Soak) -> Iterator[None]:
    soak.servers.kafka.stop()
    yield
    soak.note_durable()
    soak.servers.kafka.start(progress=False)


@contextmanager
def kafka_frozen(soak: Soak) -> Iterator[None]:
    with frozen(soak.servers.kafka.pid):
        yield
        soak.note_durable()


def _end(daemon: Daemon) -> None:
    daemon.send(signal.SIGKILL)
    daemon.wait(10)


@contextmanager
def speed_killed(soak: Soak) -> Iterator[None]:
    _end(soak.speeds.pop(soak.rng.randrange(len(soak.speeds))))
    yield
    soak.start_speed()


@contextmanager
def speed_frozen(soak: Soak) -> Iterator[None]:
    one = soak.rng.choice(soak.speeds)
    one.freeze()
    yield
    one.thaw()


@contextmanager
def all_speed_killed(soak: Soak) -> Iterator[None]:
    while soak.speeds:
        _end(soak.speeds.pop())
    yield
    for _ in range(2):
        soak.start_speed()


@contextmanager
def ingest_killed(soak: Soak) -> Iterator[None]:
    _end(soak.ingest)
    soak.note_durable()
    soak.start_ingest()  # at once: it is the only one
    yield


@contextmanager
def ingest_frozen(soak: Soak) -> Iterator[None]:
    soak.ingest.freeze()
    yield
    soak.ingest.thaw()


@contextmanager
def ingests_clock_jumps(soak: Soak) -> Iterator[None]:
    seconds = soak.rng.choice((-1, 1)) * soak.rng.uniform(60, LONGEST_JUMP.total_seconds())
    _set_clock(soak, seconds)
    yield
    _set_clock(soak, 0.0)


def _set_clock(soak: Soak, seconds: float) -> None:
    draft = soak.clock.with_suffix(".new")
    draft.write_text(str(seconds), encoding="ascii")
    draft.replace(soak.clock)


@contextmanager
def spools_disk_full(soak: Soak) -> Iterator[None]:
    """No file of ingest's may grow, which the disk's being full comes to."""
    process = psutil.Process(soak.ingest.pid)
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (4096, before[1]))
    yield
    process.rlimit(psutil.RLIMIT_FSIZE, before)


@contextmanager
def api_misbehaves(soak: Soak) -> Iterator[None]:
    for source in soak.rng.sample(sorted(soak.apis), soak.rng.randint(1, 2)):
        soak.apis[source].misbehave(soak.rng.choice([how for how in MISBEHAVIOURS if how != "answers 403"]))
    yield
    for api in soak.apis.values():
        api.misbehave(None)


def _run_at_work(soak: Soak) -> Daemon:
    """A run that has begun, at a moment that chance picks: it loads for some seconds before it does anything."""
    run = soak.batch()
    time.sleep(soak.rng.uniform(1, 9))
    return run


@contextmanager
def batch_killed(soak: Soak) -> Iterator[None]:
    _run_at_work(soak)
    soak.kill_batch()
    yield


@contextmanager
def batch_frozen(soak: Soak) -> Iterator[None]:
    run = _run_at_work(soak)
    run.freeze()
    yield
    run.thaw()


# By what they hit: of each, one at a time.
FAULTS: Mapping[str, tuple[Fault, ...]] = {
    "postgres": (postgres_killed, postgres_stopped, postgres_frozen),
    "kafka": (kafka_killed, kafka_stopped, kafka_frozen),
    "speed": (speed_killed, speed_frozen, all_speed_killed),
    "ingest": (ingest_killed, ingest_frozen, ingests_clock_jumps, spools_disk_full),
    "apis": (api_misbehaves,),
    "batch": (batch_killed, batch_frozen),
}
