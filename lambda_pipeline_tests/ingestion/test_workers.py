"""The pool of threads: how many there are, and that nothing costs one."""

import itertools
import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from lambda_pipeline.ingestion.workers import WorkerPool

NAMES = (f"pool under test {number}" for number in itertools.count())  # a closed pool's threads may still be ending


@pytest.fixture
def name() -> str:
    return next(NAMES)


@pytest.fixture
def pool(name: str) -> Iterator[WorkerPool]:
    made = WorkerPool(3, name)
    yield made
    made.close()


@pytest.fixture
def ours(name: str) -> Callable[[], list[threading.Thread]]:
    """The pool's threads."""
    return lambda: [thread for thread in threading.enumerate() if thread.name.startswith(f"{name}-")]


def run(pool: WorkerPool) -> str:
    """The name of the thread that ran a task."""
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    pool.submit(lambda: names.put(threading.current_thread().name))
    return names.get(timeout=10)


def test_no_more_threads_than_allowed_and_every_task_runs(
    pool: WorkerPool, ours: Callable[[], list[threading.Thread]]
) -> None:
    release, done = threading.Event(), threading.Semaphore(0)

    def task() -> None:
        release.wait(30)
        done.release()

    for _ in range(10):
        pool.submit(task)
    assert len(ours()) == 3
    release.set()
    for _ in range(10):
        assert done.acquire(timeout=10)


def test_a_task_that_fails_costs_no_thread_and_shows_no_text(
    pool: WorkerPool, name: str, ours: Callable[[], list[threading.Thread]], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("key=s3cr3t")

    for _ in range(10):
        pool.submit(fail)
    run(pool)
    assert len(ours()) <= 3
    assert f"a task of the pool {name} failed: RuntimeError" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_closed_it_takes_nothing_more_and_its_threads_end(
    pool: WorkerPool, ours: Callable[[], list[threading.Thread]]
) -> None:
    run(pool)
    before = ours()
    pool.close()
    pool.close()
    for thread in before:
        thread.join(10)
    assert ours() == []
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(lambda: None)
