"""Readers, publishers and importers as processes of their own, for as long as a block runs.

A reader takes one snapshot after the other and compares what it sees in it: within the snapshot, with its snapshot
before, and with what was produced by then.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

import sqlalchemy as sa

from lambda_pipeline.batch.days import compute_days
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.batch.raw_data import advance_raw_data, import_observations
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.errors import DatabaseUnavailableError
from lambda_pipeline.serving.layer import ServingLayer, ServingView
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline_tests.faults.produced import PROCESSES, Produced

_PAUSE = 0.05  # seconds between a reader's snapshots, so that the others get something done
_LONG_PAUSE = 0.5  # of one that stays for long, beside many others
FAR = date(2000, 1, 1), date(2100, 1, 1)

_MEASURES = (
    "count(*), coalesce(sum(aqi_value), 0)::bigint, count(aqi_value), min(aqi_value), max(aqi_value), "
    "coalesce(sum(traffic_level), 0)::bigint, count(traffic_level), min(traffic_level), max(traffic_level)"
)
_KEPT = "data_points_count, aqi_sum, aqi_count, min_aqi, max_aqi, traffic_sum, traffic_count, min_traffic, max_traffic"


def _differs(kept: str, from_rows: str) -> str:
    """A query that counts the groups which one table has otherwise than the rows that it was made from."""
    return (
        f"with kept as (select location, hour_start, {_KEPT} from {kept}), "
        f"made as (select location, hour_start, {_MEASURES} from {from_rows} group by 1, 2) "
        "select count(*) from ((table kept except table made) union all (table made except table kept)) differences"
    )


_NONE = {  # what no snapshot may show, and a query that counts it
    "hours served otherwise than their observations": _differs("served_hourly", "served_observations"),
    "hours of realtime_hourly otherwise than realtime_data": _differs("realtime_hourly", "realtime_data"),
    "observations served twice": "select count(*) - count(distinct (location, timestamp)) from served_observations",
    "rows of realtime_data below their coverage": "select count(*) from realtime_data r join batch_coverage c "
    "using (hour_start, log_partition) where r.log_offset < c.next_offset",
    "city hours otherwise than their locations": "with places as (select hour_start, sum(data_points_count) as n "
    "from served_hourly group by 1) select count(*) from served_city_hourly c full join places p using (hour_start) "
    "where c.data_points_count is distinct from p.n",
}


@dataclass
class Seen:
    """What one reader saw: how many snapshots, the last total, and how often each layer answered an hour."""

    snapshots: int = 0
    total: int = 0
    layers: Counter[str] = field(default_factory=Counter)
    failure: str | None = None


def read_on(url: str, produced: Produced, stop: Event, found: "Queue[Seen]", *, through_outages: bool = False) -> None:
    """Take snapshots until told to stop; hands over what was seen, with the first thing that must not be."""
    engine = make_engine(url, "reader")
    layer, seen, hours = ServingLayer(engine), Seen(), Counter[tuple[str, datetime]]()
    while not stop.wait(_LONG_PAUSE if through_outages else _PAUSE) and seen.failure is None:
        try:
            with layer.snapshot() as view:
                now, wrong = _look(view, seen.layers)
        except DatabaseUnavailableError:
            if not through_outages:
                raise
            continue
        bound = produced.total  # after the snapshot, so never too low
        seen.snapshots, seen.total = seen.snapshots + 1, now.total()
        fewer = [key for key, count in hours.items() if now[key] < count]
        if fewer:
            wrong.append(f"fewer than before in {fewer}")
        if seen.total > bound:
            wrong.append(f"{seen.total} served of {bound} produced")
        hours = now
        seen.failure = "; ".join(wrong) or None
    engine.dispose()
    found.put(seen)


def read_through_outages(url: str, produced: Produced, stop: Event, found: "Queue[Seen]") -> None:
    """The same where PostgreSQL may be away: what was seen before counts for what is seen after."""
    read_on(url, produced, stop, found, through_outages=True)


def _look(view: ServingView, layers: Counter[str]) -> tuple[Counter[tuple[str, datetime]], list[str]]:
    """Observations per location and hour as several statements of one snapshot give them, and what is wrong."""
    hourly = view.get_hourly(*FAR)
    layers.update(hourly["layer"])
    total = int(hourly["data_points_count"].sum())
    others = {
        "days": int(view.get_daily(*FAR)["data_points_count"].sum()),
        "observations": int(view.scalar(sa.text("select count(*) from served_observations"))),
    }
    wrong = [f"{count} in {name}, {total} in hours" for name, count in others.items() if count != total]
    wrong += [f"{count} {what}" for what, query in _NONE.items() if (count := view.scalar(sa.text(query)))]
    counts = zip(hourly["location"], hourly["hour_start"], hourly["data_points_count"], strict=True)
    return Counter({(place, hour): int(count) for place, hour, count in counts}), wrong


def publish_on(url: str, kafka: str, topic: str, stop: Event, found: "Queue[Seen]") -> None:
    """Store, publish and compute until told to stop; hands over how many hours were published."""
    engine = make_engine(url, "publisher", BATCH_TIMEOUTS)
    with transaction(engine) as connection:
        timezone = load_deployment(connection).timezone
    seen = Seen()
    try:
        while not stop.wait(0.5):  # in which the speed layer gets ahead
            advance_raw_data(engine, KafkaConnection(kafka), topic)
            for everything in (False, True, True):  # so that many swaps meet many commits
                hours = hours_to_publish(engine, *FAR, everything=everything)
                seen.total += publish_hours(engine, hours, timezone, "publisher").hours
            compute_days(engine, "daily_aggregations", *FAR, "publisher")
            seen.snapshots += 1
    except Exception as error:
        seen.failure = repr(error)
    engine.dispose()
    found.put(seen)


def import_on(
    url: str, rows: Sequence[ObservationMessage], produced: Produced, stop: Event, found: "Queue[Seen]"
) -> None:
    """Import rows, a few at a time and each of them twice, until told to stop; hands over how many."""
    engine = make_engine(url, "importer", BATCH_TIMEOUTS)
    with transaction(engine) as connection:
        validator = load_deployment(connection).validator()
    observations = [validator.validate(row, datetime.now(UTC) + timedelta(days=1)) for row in rows]
    seen = Seen()
    try:
        while not stop.wait(0.1) and seen.total < len(observations):
            chunk = observations[max(seen.total - 10, 0) : seen.total + 10]  # half of it for the second time
            done = min(seen.total + 10, len(observations))
            for number in range(seen.total, done):
                produced.add_planned(number)
            import_observations(engine, chunk, "import:test")
            seen.total = done
        stop.wait()
    except Exception as error:
        seen.failure = repr(error)
    engine.dispose()
    found.put(seen)


@dataclass
class Helpers:
    """Processes that run until they are told to stop, and what they hand over."""

    produced: Produced = field(default_factory=Produced)
    _stop: Event = field(default_factory=PROCESSES.Event)
    _running: list[tuple[Any, "Queue[Seen]"]] = field(default_factory=list)

    def start(self, work: Callable[..., None], *arguments: Any) -> None:
        """One more process."""
        found: Queue[Seen] = PROCESSES.Queue()
        process = PROCESSES.Process(target=work, args=(*arguments, self._stop, found), daemon=True)
        process.start()
        self._running.append((process, found))

    def read(self, url: str, count: int = 1) -> None:
        """So many readers more."""
        for _ in range(count):
            self.start(read_on, url, self.produced)

    def has_failed(self) -> bool:
        """Whether one of them is no more."""
        return any(not process.is_alive() for process, _ in self._running)

    def stop(self) -> list[Seen]:
        """Tell them to stop; what each has seen. Fails with what must not be."""
        gone = [process.exitcode for process, found in self._running if not process.is_alive() and found.empty()]
        assert gone == [], "a helper ended without a word: its exit code"
        self._stop.set()
        seen = [found.get(timeout=60) for _, found in self._running]
        for process, _ in self._running:
            process.join(60)
        self._running.clear()
        assert [one.failure for one in seen if one.failure] == []
        return seen

    def kill(self) -> None:
        """End what still runs."""
        for process, _ in self._running:
            process.kill()


@contextmanager
def helpers() -> Iterator[Helpers]:
    """Helpers for as long as a block runs."""
    made = Helpers()
    try:
        yield made
    finally:
        made.kill()
