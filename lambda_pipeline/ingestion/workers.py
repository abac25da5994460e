"""A bounded pool of threads that never holds up the end of the program.

The standard ThreadPoolExecutor joins its threads when the interpreter exits, so a daemon that is told to stop would
wait as long as the slowest API. What is under way in these threads is a question whose answer nobody needs any more.
"""

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class WorkerPool:
    """At most `size` threads, each started when a task comes and none is idle: many that run cost more than few."""

    def __init__(self, size: int, name: str) -> None:
        self._size = max(size, 1)
        self._name = name
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._spare = 0  # idle threads that no task has been submitted for; below 0, tasks that wait for one
        self._closed = False

    def submit(self, task: Callable[[], None]) -> None:
        """Run a task in one of the threads, in turn. It must not raise. Raises RuntimeError once closed."""
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the pool {self._name} is closed")
            self._spare -= 1
            if self._spare < 0 and len(self._threads) < self._size:
                thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._tasks.put(task)

    def close(self) -> None:
        """Take no more tasks and let the threads end once idle. Does not wait. May be called twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._tasks.put(None)

    def _work(self) -> None:
        while True:
            with self._lock:
                self._spare += 1
            task = self._tasks.get()
            if task is None:
                return
            try:
                task()
            except Exception as error:
                # A bug of ours, which must not cost a thread; a foreign text might hold a key.
                log.error("a task of the pool %s failed: %s", self._name, type(error).__name__)
            del task  # holds the arguments of the last call until the next one otherwise
