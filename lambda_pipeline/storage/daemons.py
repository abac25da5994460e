"""Signs of life: what `ingest` and `speed` say of themselves in the table `daemons`, for whoever asks anywhere."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from lambda_pipeline import __version__
from lambda_pipeline.storage.engine import Timeouts, make_engine, transaction
from lambda_pipeline.storage.sql import sql

logger = logging.getLogger(__name__)
Role = Literal["ingest", "speed"]
BEAT_SECONDS = 10.0
_TIMEOUTS = Timeouts(lock=3, transaction=5, idle_in_transaction=5)
_FAREWELL = 0.5  # seconds that an end waits for the last sign
_FORGET_EVERY = 360  # signs
_FORGET = sa.text("delete from daemons where seen_at < now() - interval '1 day'")


class Heartbeat:
    """Signs every `every` seconds for as long as a block runs, and at its end that it ended in order if `stop` is set.

    In a thread of its own, on a connection of its own: whatever becomes of a sign, the block never waits for it nor
    hears of it. While PostgreSQL takes none, that is one line in the log, and one when it does again. `describe` gives
    what else is to be known (quotas, errors, …); it is called from the thread.
    """

    def __init__(
        self,
        url: str,
        role: Role,
        describe: Callable[[], Mapping[str, Any]],
        stop: threading.Event,
        every: float = BEAT_SECONDS,
    ) -> None:
        self._role: Role = role
        self._describe = describe
        self._stop = stop
        self._every = every
        self._engine = make_engine(url, f"{role} heartbeat", _TIMEOUTS, pool_size=1)
        self._began = time.monotonic()
        self._is_failing = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_FAREWELL)

    def _run(self) -> None:
        number, is_over = 0, False
        while not is_over:
            self._sign(is_over=False, forget=number % _FORGET_EVERY == 0)
            number += 1
            is_over = self._over.wait(self._every)
        if self._stop.is_set():  # else it failed: whoever looks should see that it went silent
            self._sign(is_over=True, forget=False)
        self._engine.dispose()

    def _sign(self, *, is_over: bool, forget: bool) -> None:
        try:
            values = {
                "role": self._role,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "version": __version__,
                "age": time.monotonic() - self._began,
                "is_stopped": is_over,
                "detail": msgspec.json.encode(self._describe()).decode(),
            }
            with transaction(self._engine) as database:
                database.execute(sql("storage/beat"), values)
                if forget:
                    database.execute(_FORGET)
        except Exception as error:  # a daemon does its work whether or not somebody can see it
            if not self._is_failing:
                logger.info("no sign of life for `lambda-pipeline status`, until it works again: %s", error)
            self._is_failing = True
        else:
            if self._is_failing:
                logger.info("`lambda-pipeline status` sees this process again")
            self._is_failing = False
