"""Dead letters as an operator meets them: looked at, mended, sent again through the real Kafka, counted once."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from lambda_pipeline.batch.raw_data import advance_raw_data
from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.domain.log import DeadLetter
from lambda_pipeline.domain.observation import encode
from lambda_pipeline.errors import BrokerUnavailableError
from lambda_pipeline.ingestion import redrive
from lambda_pipeline.ingestion.delivery import Outcome
from lambda_pipeline.ingestion.redrive import Fate, Fix, Retried, retry_letters
from lambda_pipeline.ingestion.spool import Record
from lambda_pipeline.local.home import free_port
from lambda_pipeline.storage.dead_letters import Choice, claim_letters, insert_dead_letters
from lambda_pipeline.storage.deployment import register_locations
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.log_partitions import register_partitions
from lambda_pipeline_tests.cli.commands import Result
from lambda_pipeline_tests.integration.observations import APPENDED, HOUR, keys, publish, seen
from lambda_pipeline_tests.integration.speed_daemons import Feed

pytestmark = pytest.mark.integration

UNKNOWN = "New Place"
Say = Callable[..., Result]


@dataclass
class Desk:
    """An operator at a deployment's command line."""

    feed: Feed
    call: Say
    settings: dict[str, str]

    def say(self, *words: str, **more: str) -> Result:
        """`lambda-pipeline dead-letters …`."""
        return self.call("dead-letters", *words, **(self.settings | more))

    def listed(self, *words: str) -> list[dict[str, object]]:
        """The list, as programs read it."""
        result = self.say("list", "--json", *words)
        assert result.code == 0, result.text
        return list(json.loads(result.out))

    def learn(self, name: str = UNKNOWN) -> None:
        """The catalogue gets another location."""
        with transaction(self.feed.database.writer) as connection:
            register_locations(connection, [Location(name)], "catalogue")

    def records(self) -> int:
        """How many records the log holds."""
        consumer = KafkaConsumer(**self.feed.connection.client_settings("test"))
        partitions = [TopicPartition(self.feed.name, number) for number in self.feed.topic.partitions]
        try:
            return sum(consumer.end_offsets(partitions).values())
        finally:
            consumer.close()

    def through_batch(self) -> None:
        """What the log holds becomes a batch result."""
        advance_raw_data(self.feed.database.writer, self.feed.connection, self.feed.name)
        publish(self.feed.database, HOUR)


@pytest.fixture
def desk(feed: Feed, call: Say, tmp_path: Path) -> Desk:
    settings = {
        "DATABASE_URL": feed.database.url(),
        "LAMBDA_READER_DATABASE_URL": feed.database.url("lambda_reader"),
        "KAFKA_BOOTSTRAP_SERVERS": feed.connection.bootstrap_servers,
        "KAFKA_TOPIC": feed.name,
        "LAMBDA_KAFKA_PARTITIONS": "2",
        "LAMBDA_HOME": str(tmp_path / "home"),
    }
    return Desk(feed, call, settings)


@pytest.fixture
def consumed(desk: Desk) -> Desk:
    """Five records, of which the speed layer has kept four as dead letters, numbers 1 to 4, and goes on."""
    desk.feed.start()
    future = seen(5, hour=HOUR + timedelta(days=36_500))
    strings = b'{"schema_version": 1, "timestamp": "2025-06-02T03:07:00Z", "location": "Krukut", "aqi_value": "61"}'
    desk.feed.produce(seen(0), seen(1, UNKNOWN), b"\xff\xfe", future, strings)
    desk.feed.wait_for(4, "dead_letters")
    return desk


def served(desk: Desk) -> list[tuple[str, int]]:
    return keys(desk.feed.database, "served_observations")


def counted(desk: Desk) -> int:
    return int(str(desk.feed.database.scalar("select coalesce(sum(data_points_count), 0) from served_hourly")))


def retried(desk: Desk) -> list[int]:
    rows = desk.feed.database.rows("select id from dead_letters where retried_at is not null order by id")
    return [row.id for row in rows]


# ---------------------------------------------------------------- looking


def test_the_list_is_newest_first_with_position_reason_and_beginning(consumed: Desk) -> None:
    found = consumed.listed()
    assert [one["id"] for one in found] == [4, 3, 2, 1]
    assert [one["position"] for one in found] == [f"{consumed.feed.name}[0]@{offset}" for offset in (4, 3, 2, 1)]
    assert [one["payload_encoding"] for one in found] == ["utf-8", "utf-8", "hex", "utf-8"]
    assert found[2]["payload"] == "fffe"
    assert "location 'New Place' is not in the catalogue" in str(found[3]["error"])
    text = consumed.say("list").out
    for phrase in (f"{consumed.feed.name}[0]@1", "is not in the catalogue", '"location":"New Place"', "fffe", " WIB"):
        assert phrase in text


def test_the_list_is_narrowed_by_number_reason_and_time(consumed: Desk) -> None:
    assert [one["id"] for one in consumed.listed("--limit", "2")] == [4, 3]
    assert [one["id"] for one in consumed.listed("--reason", "NOT IN THE Catalogue")] == [1]
    assert consumed.listed("--reason", "100%_of'nothing") == []
    assert consumed.listed("--since", "2999-01-01") == []
    assert len(consumed.listed("--since", "2025-01-01")) == 4
    assert "No open dead letters." not in consumed.say("list", "--since", "2999-01-01").out


def test_nothing_is_listed_plainly(desk: Desk) -> None:
    assert desk.say("list").out.strip() == "No open dead letters."
    assert desk.listed() == []


def test_one_is_shown_whole_by_number_or_position(consumed: Desk) -> None:
    by_number, by_position = consumed.say("show", "1"), consumed.say("show", f"{consumed.feed.name}[0]@1")
    assert by_number.code == 0, by_number.text
    assert by_number.out == by_position.out
    assert encode(seen(1, UNKNOWN)).decode() in by_number.out
    for phrase in ("judged now", "not in the catalogue", "sent again", consumed.feed.name):
        assert phrase in by_number.out
    consumed.learn()
    assert "judged now  valid" in consumed.say("show", "1").out
    found = json.loads(consumed.say("show", "1", "--json").out)
    assert (found["judged_now"], found["retried_position"]) == ("valid", None)


def test_a_payload_comes_out_byte_for_byte(consumed: Desk, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lambda_pipeline", "dead-letters", "show", "2", "--raw"],
        cwd=tmp_path, env=os.environ | consumed.settings, capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"\xff\xfe"), done.stderr


def test_what_could_move_the_cursor_is_shown_escaped(desk: Desk) -> None:
    with transaction(desk.feed.database.writer) as connection:
        (partition, *_) = register_partitions(connection, desk.feed.topic.log_id, desk.feed.name, [0]).values()
        evil = b"\x1b]0;owned\x07\x1b[2J{"
        insert_dead_letters(connection, [DeadLetter(partition.id, 7, APPENDED, evil, evil, evil.decode())])
    for words in (("list",), ("show", "1"), ("retry", "1", "--dry-run")):
        text = desk.say(*words).text
        assert "owned" in text or words[0] == "retry"
        assert "\x1b" not in text
        assert "\x07" not in text


@pytest.mark.parametrize(
    "words", [("show", "99"), ("show", "nowhere[0]@5"), ("retry", "99"), ("retry", "nowhere[0]@5")]
)
def test_one_that_is_not_there_is_named(desk: Desk, words: tuple[str, str]) -> None:
    result = desk.say(*words)
    assert result.code == 1
    assert f"error: there is no dead letter {words[1]}." in result.err


@pytest.mark.parametrize(
    "words",
    [
        ("show", "first"), ("show", "1.5"), ("retry",), ("retry", "1", "--all"), ("retry", "one"),
        ("retry", "1", "--since", "2025-01-01"), ("retry", "1", "--set", "colour=blue"), ("retry", "1", "--set", "aqi"),
        ("retry", "--all", "--fix", "fix.json"), ("retry", "1", "--fix", "nowhere.json"), ("list", "--since", "noon"),
        ("list", "--limit", "0"),
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(desk: Desk, words: tuple[str, ...]) -> None:
    result = desk.say(*words)
    assert result.code == 2, result.text
    assert "Traceback" not in result.text


# ---------------------------------------------------------------- sending again


def test_what_became_valid_is_sent_again_and_counts_once_in_both_layers(consumed: Desk) -> None:
    refused = consumed.say("retry", "1")
    assert refused.code == 1
    assert "not sent: location 'New Place' is not in the catalogue" in refused.err
    assert "0 sent, 1 not." in refused.out
    assert (consumed.records(), retried(consumed)) == (5, [])

    consumed.learn()
    done = consumed.say("retry", "1")
    assert done.code == 0, done.text
    assert f"sent to {consumed.feed.name}[" in done.out
    assert consumed.records() == 6
    consumed.feed.wait_for(2)
    assert served(consumed) == [("Krukut", 0), (UNKNOWN, 1)]
    consumed.through_batch()
    assert served(consumed) == [("Krukut", 0), (UNKNOWN, 1)]
    assert counted(consumed) == 2
    assert consumed.feed.count("realtime_data") == 0
    assert consumed.feed.count("dead_letters") == 4, "the old position stays a dead letter"

    (letter,) = [one for one in consumed.listed("--with-retried") if one["retried_at"]]
    assert str(letter["retried_position"]) in done.out
    assert [one["id"] for one in consumed.listed()] == [4, 3, 2]
    again = consumed.say("retry", "1")
    assert again.code == 1
    assert "error: 1 was sent again" in again.err
    assert f"to {letter['retried_position']} already." in again.err
    assert consumed.records() == 6


def test_all_that_can_be_sent_is_and_the_rest_is_named(consumed: Desk) -> None:
    consumed.learn()
    tried = consumed.say("retry", "--all", "--dry-run")
    assert tried.code == 1
    assert "valid now" in tried.out
    assert "1 would be sent, 3 not." in tried.out
    assert (consumed.records(), retried(consumed)) == (5, [])
    done = consumed.say("retry", "--all")
    assert (done.code, done.out.splitlines()[-1]) == (1, "1 sent, 3 not.")
    assert re.findall(r"^ +(\d+)  not sent: .", done.err, re.MULTILINE) == ["2", "3", "4"]
    assert retried(consumed) == [1]
    consumed.feed.wait_for(2)
    assert consumed.feed.count("dead_letters") == 4, "what is invalid was not sent"
    assert consumed.say("retry", "--all", "--reason", "not in the catalogue").out == "No open dead letters.\n"


def test_a_letter_is_mended_by_a_field(consumed: Desk) -> None:
    result = consumed.say("retry", "4", "--set", "aqi_value=61", "--set", "traffic_level=3")
    assert result.code == 0, result.text
    consumed.feed.wait_for(2)
    row = consumed.feed.database.rows("select aqi_value, traffic_level from realtime_data order by timestamp")[1]
    assert tuple(row) == (61, 3)
    assert consumed.say("retry", "2", "--set", "aqi_value=61").code == 1, "there are no fields in it"


def test_a_letter_is_replaced_by_a_file(consumed: Desk, tmp_path: Path) -> None:
    file = tmp_path / "fixed.json"
    file.write_bytes(encode(seen(30, "Cinere", aqi=42)))
    assert consumed.say("retry", "2", "--fix", str(file)).code == 0
    consumed.feed.wait_for(2)
    assert served(consumed) == [("Krukut", 0), ("Cinere", 30)]
    file.write_text("{")
    result = consumed.say("retry", "3", "--fix", str(file))
    assert result.code == 2
    assert "is not JSON" in result.err


def test_a_process_that_dies_after_sending_and_before_marking_counts_nothing_twice(
    consumed: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumed.learn()
    with monkeypatch.context() as patch:

        def dies(*_: object) -> None:
            raise RuntimeError("the process dies here")

        patch.setattr(redrive, "mark_retried", dies)
        with pytest.raises(RuntimeError, match="dies here"):
            consumed.say("retry", "1")
    assert (consumed.records(), retried(consumed)) == (6, [])
    consumed.feed.wait_for(2)
    again = consumed.say("retry", "1")
    assert again.code == 0, again.text
    assert "is stored already, and stays as it is" in again.out
    assert (consumed.records(), retried(consumed)) == (7, [1])
    consumed.through_batch()
    assert consumed.feed.count("raw_data") == 2
    assert counted(consumed) == 2


def test_what_another_retry_has_under_way_is_left_to_it(consumed: Desk) -> None:
    consumed.learn()
    with transaction(consumed.feed.database.writer) as connection:
        assert [number for number, _ in claim_letters(connection, Choice((1,)), 0, 10)] == [1]
        result = consumed.say("retry", "--all", "--reason", "catalogue")
        assert (result.code, result.out) == (0, "No open dead letters.\n")
    assert consumed.records() == 5


def test_without_kafka_nothing_is_marked(consumed: Desk) -> None:
    consumed.learn()
    result = consumed.say("retry", "1", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    assert result.code == 1
    assert "Kafka at 127.0.0.1" in result.err
    assert "Traceback" not in result.text
    assert retried(consumed) == []
    assert consumed.say("list", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}").code == 0


def test_what_kafka_refuses_or_does_not_take_any_more_stays_open(consumed: Desk) -> None:
    """By a sender that takes the first, refuses the second and then meets an outage: Kafka itself would need a day."""
    consumed.learn()
    mended = Fix(encode(seen(30, "Cinere")))

    def send(records: Sequence[Record]) -> Outcome:
        first, second, *rest = records
        return Outcome(
            [first], [(second, MessageSizeTooLargeError())], rest, KafkaTimeoutError("away"), {first.id: (1, 9)}
        )

    found = retry_letters(consumed.feed.database.writer, Choice(), mended, send, consumed.feed.topic)
    assert next(found) == Retried(1, Fate.SENT, position=f"{consumed.feed.name}[1]@9")
    assert next(found).fate is Fate.REFUSED
    with pytest.raises(BrokerUnavailableError, match="Kafka stopped taking messages: KafkaTimeoutError"):
        next(found)
    assert retried(consumed) == [1]


def test_many_are_sent_in_order_by_several_transactions(desk: Desk) -> None:
    count = 450
    messages = [seen(number / 10, UNKNOWN) for number in range(count)]
    desk.feed.start()
    desk.feed.produce(*messages)
    desk.feed.wait_for(count, "dead_letters")
    desk.learn()
    result = desk.say("retry", "--all")
    assert result.code == 0, result.text[-2000:]
    assert result.out.splitlines()[-1] == f"{count} sent, 0 not."
    desk.feed.wait_for(count)
    assert len(retried(desk)) == count
    rows = desk.feed.database.rows("select retried_offset from dead_letters order by id")
    offsets = [row.retried_offset for row in rows]  # of one place, and so of one partition
    assert offsets == sorted(set(offsets))


def test_the_instant_of_the_retry_is_the_databases(consumed: Desk) -> None:
    consumed.learn()
    before = consumed.feed.database.scalar("select now()")
    consumed.say("retry", "1")
    at = consumed.feed.database.scalar("select retried_at from dead_letters where id = 1")
    after = consumed.feed.database.scalar("select now()")
    assert isinstance(at, datetime)
    assert before < at < after  # type: ignore[operator]
