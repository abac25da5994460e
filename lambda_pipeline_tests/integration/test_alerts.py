"""Alerts about air and traffic: a real database, a real receiver, and a cursor that is all that outlasts a restart."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa

from lambda_pipeline.automation import alerts, episodes
from lambda_pipeline.automation.alerts import AlertRules, build_alert_sensor
from lambda_pipeline.automation.webhook import Webhook
from lambda_pipeline.domain.catalogue import Location
from lambda_pipeline.resources import DatabaseResource
from lambda_pipeline.storage.deployment import register_locations
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline_tests.cli.commands import SETTINGS
from lambda_pipeline_tests.ingestion.servers import Scripted, ScriptedServer
from lambda_pipeline_tests.integration.observations import HOUR, NEXT_HOUR, MemoryLog, at, publish, seen
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration

HALF_AN_HOUR = timedelta(minutes=30)
RULES = AlertRules("Unhealthy", 5, HALF_AN_HOUR)
OK, REFUSED = Scripted(status=200), Scripted(status=404)
QUIET = "episodes that go on: 0."


class Watch:
    """The sensor over a database and a receiver; every tick is one of a process that has just started."""

    def __init__(self, database: Database, receiver: ScriptedServer) -> None:
        self.database, self.receiver = database, receiver
        self.log = MemoryLog(database)
        self.rules = RULES
        self.webhook: Webhook | None = Webhook(receiver.url)
        self.cursor: str | None = None

    def see(self, *minutes: float, **what: object) -> None:
        """Observations at these minutes of the hour, in the speed layer."""
        self.log.append(*(seen(minute, **what) for minute in minutes))  # type: ignore[arg-type]
        self.log.consume()

    def tick(self, minute: float, hour: datetime = HOUR) -> str:
        """What the sensor says at a minute of the hour."""
        sensor = build_alert_sensor(self.webhook, self.rules, lambda: at(minute, hour))
        with dg.build_sensor_context(cursor=self.cursor, resources={"database": DatabaseResource()}) as context:
            found = sensor.evaluate_tick(context)
        self.cursor = found.cursor
        return str(found.skip_message)

    def posts(self) -> list[dict[str, object]]:
        """What the receiver was sent since it was asked last."""
        bodies = [json.loads(body) for body in self.receiver.bodies]
        self.receiver.bodies.clear()
        return bodies

    def texts(self) -> list[object]:
        """The same, for a person."""
        return [post["text"] for post in self.posts()]


@pytest.fixture
def watch(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", database.url())
    receiver = ScriptedServer()
    yield Watch(database, receiver)
    receiver.close()


def test_bad_air_is_told_once_when_it_has_lasted_and_once_when_it_is_over(watch: Watch) -> None:
    watch.see(0, 6, 12, 18, 24, aqi=163)
    assert watch.tick(25) == QUIET
    watch.see(30, aqi=171)
    text = "Jakarta, Krukut: AQI 171 (Unhealthy). It has been at least Unhealthy since 10:00 WIB."
    assert watch.tick(31) == f"{text} episodes that go on: 1."
    assert watch.posts() == [
        {
            "text": text, "event": "begun", "city": "Jakarta", "measure": "aqi", "threshold": 151,
            "places": [
                {"location": "Krukut", "since": "2025-06-02T10:00:00+07:00", "value": 171, "category": "Unhealthy"}
            ],
        }
    ]  # fmt: skip
    watch.see(36, aqi=305)
    assert watch.tick(37) == "episodes that go on: 1."
    watch.see(42, aqi=140)
    watch.tick(43)
    assert watch.tick(44) == QUIET
    assert watch.posts() == [
        {
            "text": "Jakarta, Krukut: AQI 140 (Unhealthy for Sensitive Groups) at 10:42 WIB. "
            "It was at least Unhealthy from 10:00 WIB on, for 42 minutes.",
            "event": "ended", "city": "Jakarta", "measure": "aqi", "threshold": 151,
            "places": [
                {
                    "location": "Krukut", "since": "2025-06-02T10:00:00+07:00", "value": 140,
                    "category": "Unhealthy for Sensitive Groups", "until": "2025-06-02T10:42:00+07:00",
                }
            ],
        }
    ]  # fmt: skip


def test_an_observation_is_counted_in_whichever_layer_it_is(watch: Watch) -> None:
    watch.see(40, 50, aqi=200)
    watch.log.store()
    publish(watch.database, HOUR)
    watch.see(0, 10, hour=NEXT_HOUR, aqi=200)
    assert watch.database.scalar("select count(distinct layer) from served_observations") == 2
    watch.tick(11, NEXT_HOUR)
    assert watch.texts() == ["Jakarta, Krukut: AQI 200 (Unhealthy). It has been at least Unhealthy since 10:40 WIB."]


@pytest.mark.parametrize(
    ("values", "is_told"),
    [
        ([151] * 6, True),
        ([151, 151, 150, 151, 151, 151], False),
        ([150, 151, 151, 151, 151, 151], False),
        ([151, None, None, 151, None, 151], True),
        ([151, 151, 151, 151, 151, None], False),
        ([None] * 6, False),
    ],
)
def test_every_observation_that_has_the_measure_must_say_so_for_half_an_hour(
    watch: Watch, values: list[int | None], is_told: bool
) -> None:
    for number, value in enumerate(values):
        watch.see(number * 6, aqi=value, level=1)
    watch.tick(31)
    assert bool(watch.posts()) is is_told


def test_a_jam_is_told_of_beside_bad_air_and_by_itself(watch: Watch) -> None:
    watch.see(0, 15, 30, aqi=400, speeds=(0.0, 60.0))
    watch.see(0, 15, 30, location="Cinere", level=5)
    watch.tick(30)
    assert watch.texts() == [
        "Jakarta, Krukut: AQI 400 (Hazardous). It has been at least Unhealthy since 10:00 WIB.",
        "Jakarta, Cinere: traffic level 5 (Macet Total). It has been at least level 5 since 10:00 WIB.",
        "Jakarta, Krukut: traffic level 5 (Macet Total). It has been at least level 5 since 10:00 WIB.",
    ]
    watch.see(36, aqi=400, level=4)
    watch.tick(36)
    assert watch.texts() == [
        "Jakarta, Krukut: traffic level 4 (Padat) at 10:36 WIB. "
        "It was at least level 5 from 10:00 WIB on, for 36 minutes."
    ]
    assert watch.tick(37) == "episodes that go on: 2."


def test_what_the_webhook_does_not_take_is_posted_at_the_next_tick_and_nothing_twice(watch: Watch) -> None:
    watch.see(0, 30, aqi=200, level=5)
    watch.receiver.script = [REFUSED, OK]
    said = watch.tick(30)
    assert said.endswith("Alerts that wait to be posted: 1. the alert webhook answers 404. Is ALERT_WEBHOOK_URL right?")
    assert [post["measure"] for post in watch.posts()] == ["aqi", "traffic"]
    watch.receiver.script = [OK]
    watch.tick(31)
    watch.tick(32)
    assert [post["measure"] for post in watch.posts()] == ["aqi"]


def test_a_receiver_that_is_away_is_told_of_beginning_and_end_when_it_is_back(watch: Watch) -> None:
    watch.receiver.close()
    watch.see(0, 30, aqi=200)
    watch.tick(30)
    watch.see(36, aqi=20)
    assert "Alerts that wait to be posted: 1. the alert webhook cannot be reached" in watch.tick(36)
    watch.see(40, aqi=200)
    watch.receiver = ScriptedServer()
    watch.webhook = Webhook(watch.receiver.url)
    watch.tick(60)
    assert [post["event"] for post in watch.posts()] == ["begun", "ended"]
    assert watch.tick(61) == QUIET
    watch.receiver.close()


def test_an_alert_that_nobody_takes_is_given_up_after_a_week(watch: Watch) -> None:
    watch.receiver.script = [REFUSED]
    watch.see(0, 30, aqi=200)
    watch.tick(30)
    watch.see(36, aqi=20)
    assert "wait to be posted: 1" in watch.tick(36)
    assert "wait to be posted: 1" in watch.tick(36, HOUR + timedelta(days=6, hours=23))
    assert watch.tick(36, HOUR + timedelta(days=7, hours=1)) == QUIET


def test_a_place_that_falls_silent_is_told_of_as_such(watch: Watch) -> None:
    watch.see(0, 30, aqi=200)
    watch.tick(30)
    assert watch.tick(90) == "episodes that go on: 1."  # sixty minutes: twice as long as it must last
    watch.posts()
    watch.tick(91)
    assert watch.posts() == [
        {
            "text": "Jakarta, Krukut: no AQI since 10:30 WIB. "
            "It was at least Unhealthy from 10:00 WIB on; whether it still is, nobody knows.",
            "event": "silent", "city": "Jakarta", "measure": "aqi", "threshold": 151,
            "places": [
                {
                    "location": "Krukut", "since": "2025-06-02T10:00:00+07:00", "until": "2025-06-02T10:30:00+07:00",
                }
            ],
        }
    ]  # fmt: skip
    watch.see(95, 105, aqi=200)
    assert watch.tick(106) == QUIET, "what was before the silence does not count"
    watch.see(125, aqi=200)
    watch.tick(126)
    assert watch.texts() == ["Jakarta, Krukut: AQI 200 (Unhealthy). It has been at least Unhealthy since 11:35 WIB."]


def test_the_other_measure_does_not_keep_an_episode_alive(watch: Watch) -> None:
    watch.see(0, 30, aqi=200)
    watch.tick(30)
    watch.see(60, 90, level=1)
    watch.tick(91)
    assert [post["event"] for post in watch.posts()] == ["begun", "silent"]


def test_a_place_that_polls_slowly_has_three_polls_time(watch: Watch) -> None:
    with transaction(watch.database.writer) as connection:
        connection.execute(sa.text("update deployment set poll_interval_seconds = 3600"))
    watch.see(0, 60, 120, aqi=200)
    watch.tick(121)
    assert watch.tick(300) == "episodes that go on: 1."
    watch.tick(301)
    assert [post["event"] for post in watch.posts()] == ["begun", "silent"]


def test_an_old_episode_that_was_never_seen_is_not_told(watch: Watch) -> None:
    watch.see(0, 30, aqi=200)
    assert watch.tick(91) == QUIET


def test_after_a_pause_of_the_sensor_an_episode_that_broke_off_and_came_again_is_two(watch: Watch) -> None:
    watch.see(0, 30, aqi=200)
    watch.tick(30)
    watch.see(36, aqi=100)
    watch.see(42, 57, 72, aqi=300)
    watch.tick(73)
    assert watch.texts() == [
        "Jakarta, Krukut: AQI 200 (Unhealthy). It has been at least Unhealthy since 10:00 WIB.",
        "Jakarta, Krukut: AQI 300 (Very Unhealthy). It has been at least Unhealthy since 10:42 WIB.",
        "Jakarta, Krukut: AQI 100 (Moderate) at 10:36 WIB. "
        "It was at least Unhealthy from 10:00 WIB on, for 36 minutes.",
    ]


def test_a_location_that_was_switched_off_is_not_watched(watch: Watch) -> None:
    watch.see(0, 30, aqi=200)
    with transaction(watch.database.writer) as connection:
        connection.execute(sa.text("update locations set is_active = false where name = 'Krukut'"))
    assert watch.tick(30) == QUIET


def test_what_is_switched_off_is_not_told_and_forgotten_where_it_went_on(watch: Watch) -> None:
    watch.see(0, 30, aqi=200, level=5)
    watch.rules = AlertRules(None, 5, HALF_AN_HOUR)
    watch.tick(30)
    watch.rules = AlertRules(None, None, HALF_AN_HOUR)
    assert watch.tick(31) == QUIET
    assert [post["measure"] for post in watch.posts()] == ["traffic"]


def test_without_a_webhook_episodes_are_logged_once(watch: Watch) -> None:
    watch.webhook = None
    watch.see(0, 30, aqi=200)
    assert watch.tick(30).startswith("Jakarta, Krukut: AQI 200 (Unhealthy).")
    assert watch.tick(31) == "episodes that go on: 1."


def test_many_places_at_once_are_one_post_and_names_are_sent_as_they_are(watch: Watch) -> None:
    names = [f"<b>Place {number:02}</b> \"'; drop table" for number in range(12)]
    with transaction(watch.database.writer) as connection:
        register_locations(connection, [Location(name) for name in names], "import")
    watch.log = MemoryLog(watch.database)
    for name in names:
        watch.see(0, 30, location=name, level=5)
    watch.tick(30)
    (post,) = watch.posts()
    assert post["text"] == (
        f"Jakarta: traffic is at least level 5 at 12 more places: {'; '.join(names[:10])} and 2 others."
    )
    assert [place["location"] for place in post["places"]] == names  # type: ignore[attr-defined]
    for name in names[:6]:
        watch.see(36, location=name, level=1)
    watch.tick(36)
    (post,) = watch.posts()
    assert str(post["text"]).startswith("Jakarta: traffic is not at least level 5 any more at 6 places: <b>Place 00")


def test_no_more_episodes_are_followed_than_the_cursor_takes(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "MOST", 2)
    for name, minute in (("Krukut", 0), ("Cinere", 1), ("Gunung", 2)):
        watch.see(minute, minute + 30, location=name, level=5)
    assert watch.tick(33).endswith("episodes that go on: 2. 1 more places are not followed: that is too many.")
    assert [post["places"][0]["location"] for post in watch.posts()] == ["Krukut", "Cinere"]  # type: ignore[index]


def test_a_tick_that_takes_long_leaves_the_rest_to_the_next(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.see(0, 30, aqi=200)
    with monkeypatch.context() as patch:
        patch.setattr(alerts, "_MOST_SECONDS", -1.0)
        assert watch.tick(30).endswith("Alerts that wait to be posted: 1. The next tick goes on.")
    assert watch.posts() == []
    watch.tick(31)
    assert len(watch.posts()) == 1


def test_while_the_database_is_away_nothing_is_forgotten(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.see(0, 30, aqi=200)
    watch.tick(30)
    before = watch.cursor
    with monkeypatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
        assert watch.tick(31).startswith("PostgreSQL is not answering")
    assert watch.cursor == before
    assert watch.tick(32) == "episodes that go on: 1."


def test_a_cursor_that_cannot_be_read_is_started_anew(watch: Watch) -> None:
    watch.cursor = '{"since": 1}'
    assert watch.tick(0) == QUIET
    assert watch.cursor == "[]"
