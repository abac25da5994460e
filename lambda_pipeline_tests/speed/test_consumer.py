"""The daemon's rounds, with a group and a committer that do as they are told."""

import threading
from contextlib import nullcontext
from datetime import date
from uuid import UUID

import pytest
import sqlalchemy as sa
from kafka.errors import KafkaConnectionError, OffsetOutOfRangeError
from prometheus_client import CollectorRegistry

from lambda_pipeline.domain.log import Record
from lambda_pipeline.errors import BrokerUnavailableError, TopicRecreatedError
from lambda_pipeline.monitoring.pulse import Pulse
from lambda_pipeline.speed import consumer as module
from lambda_pipeline.speed.commit import MicroBatch
from lambda_pipeline.speed.committer import Outcome
from lambda_pipeline.speed.consumer import SpeedDaemon, SpeedOptions
from lambda_pipeline.speed.metrics import SpeedMetrics, Standing
from lambda_pipeline.storage.deployment import Deployment
from lambda_pipeline.storage.log_partitions import LogPartition
from lambda_pipeline.stream.client import KafkaConnection
from lambda_pipeline.stream.topic import Topic
from lambda_pipeline_tests.integration.observations import APPENDED, FakeRecord

LOG = UUID(int=1)
HELD = LogPartition(1, LOG, "observations", 0)
ROUNDS = 100  # after which a daemon that does nothing more is told to stop


class FakeMembership:
    """Holds one partition, whose records never end; `failures` are what polls raise, by their number."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.has_new = False
        self.failures: dict[int, Exception] = {}
        self.calls: list[str] = []
        self.looks: list[bool] = []  # at where the partitions stand; whether the broker is to be asked
        self.keep_fails = False
        self.stored: dict[int, int] = {}
        self._next = 0

    def poll(self, _seconds: float, max_records: int) -> list[tuple[LogPartition, list[Record]]]:
        self.calls.append("poll")
        if (failure := self.failures.get(self.calls.count("poll"))) is not None:
            raise failure
        milliseconds = int(APPENDED.timestamp() * 1000)
        numbers = range(self._next, self._next + max_records)
        return [(HELD, [FakeRecord("observations", 0, number, milliseconds, None, b"{") for number in numbers])]

    def keep(self, _seconds: float) -> None:
        self.calls.append("keep")
        if self.keep_fails:
            raise KafkaConnectionError("away")

    def explain_refusal(self, _cut: dict[int, int]) -> frozenset[int]:
        self.calls.append("explain_refusal")
        self.stop.set()
        return frozenset()

    def explain_recreation(self) -> TopicRecreatedError:
        return TopicRecreatedError("explained")

    def expected(self, _partition: LogPartition) -> int:
        return self._next

    def advance(self, _partition: LogPartition, offset: int) -> None:
        self._next = offset

    def note_stored(self, offsets: dict[int, int]) -> None:
        self.stored |= offsets

    def sync(self) -> frozenset[int]:
        return frozenset()

    def take_up(self) -> None: ...

    def report(self) -> None: ...

    def standing(self, *, ask: bool) -> dict[int, Standing]:
        self.looks.append(ask)
        return {0: Standing(self.stored.get(0, 0), self._next)}

    def close(self, _seconds: float) -> None: ...


class FakeCommitter:
    """Takes two batches at a time, and is done with the oldest after so many waits."""

    def __init__(self, stop: threading.Event, waits: int) -> None:
        self.stop, self.waits, self.rounds = stop, waits, 0
        self.under_way: list[MicroBatch] = []
        self.done: list[MicroBatch] = []

    @property
    def is_busy(self) -> bool:
        return bool(self.under_way)

    @property
    def has_room(self) -> bool:
        return len(self.under_way) < 2

    def submit(self, batch: MicroBatch) -> None:
        self.under_way.append(batch)

    def outcome(self) -> Outcome | None:
        return Outcome(self.done.pop(0), 0, frozenset(), 0.1, 1) if self.done else None

    def wait(self, _timeout: float, *, until_idle: bool = False) -> None:
        self.rounds += 1
        if self.rounds > ROUNDS:
            self.stop.set()
        if self.rounds > self.waits and (until_idle or not self.has_room):
            self.done.append(self.under_way.pop(0))

    def close(self, _timeout: float) -> None: ...


class Stage:
    """A daemon of two records a commit between the two."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.membership = FakeMembership(self.stop)
        self.committer = FakeCommitter(self.stop, waits=ROUNDS)
        self.registry = CollectorRegistry()
        self.metrics = SpeedMetrics(self.registry)
        self.pulse = Pulse()

    def run(self) -> None:
        topic = Topic("observations", LOG, (0,))
        nobody = sa.create_engine("postgresql+psycopg://nowhere")
        SpeedDaemon(
            nobody,
            KafkaConnection("nowhere:9"),
            topic,
            SpeedOptions("group", 2),
            metrics=self.metrics,
            pulse=self.pulse,
        ).run(self.stop)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage()
    deployment = Deployment("Test", "Asia/Jakarta", date(2025, 1, 1), (), {}, 1)
    monkeypatch.setattr(module, "transaction", lambda *_, **__: nullcontext())
    monkeypatch.setattr(module, "load_deployment", lambda _: deployment)
    monkeypatch.setattr(module, "_mention_old_logs", lambda *_: None)
    monkeypatch.setattr(module, "Membership", lambda *_: made.membership)
    monkeypatch.setattr(module, "Committer", lambda *_, **__: made.committer)
    monkeypatch.setattr(module, "_KEEP_EVERY", 0.0)
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)
    return made


def test_it_stays_a_member_while_a_full_batch_waits_for_two_others(stage: Stage) -> None:
    stage.run()
    assert len(stage.committer.under_way) == 2
    assert stage.membership.calls.count("keep") == ROUNDS


def test_it_stays_a_member_while_a_full_batch_and_a_new_partition_wait_for_one(stage: Stage) -> None:
    """The batch may not follow the one under way: the new partition is taken up when nothing is."""
    stage.membership.has_new = True
    stage.run()
    assert len(stage.committer.under_way) == 1
    assert stage.membership.calls.count("keep") == ROUNDS


@pytest.mark.parametrize("keep_fails", [False, True])
def test_it_stays_a_member_while_what_came_before_a_refused_offset_is_committed(stage: Stage, keep_fails: bool) -> None:
    stage.committer.waits = 3
    stage.membership.failures = {2: OffsetOutOfRangeError()}
    stage.membership.keep_fails = keep_fails
    stage.run()
    assert stage.membership.calls == ["poll", "poll", "keep", "keep", "keep", "explain_refusal"]
    assert stage.membership.stored == {0: 2}


def test_it_stays_a_member_while_what_came_of_a_recreated_topic_is_committed(stage: Stage) -> None:
    stage.committer.waits = 3
    stage.membership.failures = {2: TopicRecreatedError("recreated")}
    with pytest.raises(TopicRecreatedError, match="explained"):
        stage.run()
    assert stage.membership.calls == ["poll", "poll", "keep", "keep", "keep"]
    assert stage.membership.stored == {0: 2}


def test_while_nothing_is_fetched_the_broker_is_asked_where_the_log_ends(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_LOOK_EVERY", "_ASK_EVERY", "_AWAY"):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(stage.membership, "refresh", lambda: None, raising=False)
    stage.run()
    assert stage.membership.looks[-1]
    ends = stage.registry.get_sample_value("lambda_speed_log_end_offset", {"partition": "0"})
    assert ends == 6  # three batches of two: nothing more was fetched


def test_that_it_waits_for_kafka_is_counted_and_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.membership.failures = {1: BrokerUnavailableError("Kafka is away.")}
    told: list[str] = []
    monkeypatch.setattr(stage.pulse, "waits", told.append)
    stage.run()
    assert told == ["Kafka is away."]
    assert stage.registry.get_sample_value("lambda_speed_waits_total", {"server": "kafka"}) == 1
    assert stage.pulse.health().status == "ok"


def test_each_batch_that_is_done_is_counted(stage: Stage) -> None:
    stage.committer.waits = 0
    stage.membership.failures = {5: TopicRecreatedError("recreated")}
    with pytest.raises(TopicRecreatedError):
        stage.run()
    assert stage.registry.get_sample_value("lambda_speed_dead_letters_total") == stage.membership.stored[0] > 0
    assert stage.pulse.health().status == "ok"
