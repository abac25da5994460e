"""The pool of threads: how many there are, and that nothing costs one."""

import queue
import threading
from collections.abc import Iterator

import pytest

from lambda_pipeline.ingestion.workers import WorkerPool


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(3, "pool under test")
    yield made
    made.close()


def threads() -> int:
    return sum(thread.name.startswith("pool under test-") for thread in threading.enumerate())


def run(pool: WorkerPool) -> str:
    """The name of the thread that ran a task."""
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    pool.submit(lambda: names.put(threading.current_thread().name))
    return names.get(timeout=10)


def test_no_more_threads_than_allowed_and_every_task_runs(pool: WorkerPool) -> None:
    release, done = threading.Event(), threading.Semaphore(0)

    def task() -> None:
        release.wait(30)
        done.release()

    for _ in range(10):
        pool.submit(task)
    assert threads() == 3
    release.set()
    for _ in range(10):
        assert done.acquire(timeout=10)


def test_a_task_that_fails_costs_no_thread_and_shows_no_text(
    pool: WorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("key=s3cr3t")

    for _ in range(10):
        pool.submit(fail)
    run(pool)
    assert threads() <= 3
    assert "a task of the pool pool under test failed: RuntimeError" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_closed_it_takes_nothing_more_and_its_threads_end(pool: WorkerPool) -> None:
    run(pool)
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("pool under test-")]
    pool.close()
    pool.close()
    for thread in ours:
        thread.join(10)
    assert threads() == 0
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(lambda: None)
