"""The sensor that speaks up for the city: bad air or a jam at a place that lasts, told when it begins and when it ends.

Each is told once: what the webhook does not take is posted at the next tick. The sensor's cursor holds the episodes, so
that a restart neither forgets one nor tells it again.

No `from __future__ import annotations` here: Dagster reads the context's annotation at import.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter

import dagster as dg
import msgspec

from lambda_pipeline.automation.episodes import Episode, follow
from lambda_pipeline.automation.webhook import Webhook
from lambda_pipeline.domain.air_quality import aqi_category, lowest_aqi
from lambda_pipeline.domain.city_time import CityClock
from lambda_pipeline.domain.traffic import traffic_level_name
from lambda_pipeline.errors import TransientError, WebhookError
from lambda_pipeline.resources import DatabaseResource
from lambda_pipeline.serving.exceedances import AQI, TRAFFIC, Exceedances, find_exceedances

_EVERY = 60  # seconds
_KEEP_TRYING = timedelta(days=7)
_MOST_SECONDS = 10.0  # of a tick, after which no other post is begun: the other sensors wait for it
_SINGLY = 5  # places with a post each; more of them at once are one post
_NAMED = 10  # places that such a post names; its fields hold all of them
BEGUN, ENDED, SILENT = "begun", "ended", "silent"


@dataclass(frozen=True, slots=True)
class AlertRules:
    """What is told: an AQI of this category or worse, this traffic level (1 to 5) or worse, for so long. None: not."""

    aqi_category: str | None
    traffic_level: int | None
    least: timedelta

    def thresholds(self) -> dict[str, int]:
        """The lowest value of each watched measure that is told."""
        found = {AQI: self.aqi_category and lowest_aqi(self.aqi_category), TRAFFIC: self.traffic_level}
        return {measure: int(value) for measure, value in found.items() if value is not None}

    def describe(self, measure: str) -> str:
        """What a place is while an episode goes on."""
        if measure == AQI:
            return f"at least {self.aqi_category}"
        return f"at least level {self.traffic_level}"


def build_alert_sensor(
    webhook: Webhook | None, rules: AlertRules, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> dg.SensorDefinition:
    """Tells of every episode's beginning and end; `clock` gives aware UTC."""

    @dg.sensor(
        name="alerts", default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=_EVERY,
        description="Logs bad air and jams that last (LAMBDA_ALERT_…), at their beginning and their end, and posts "
        "them to ALERT_WEBHOOK_URL, where that is set.",
    )  # fmt: skip
    def alerts(context: dg.SensorEvaluationContext, database: DatabaseResource) -> dg.SkipReason:
        now = clock()
        episodes = _remember(context.cursor)
        engine = database.engine()
        try:
            state = find_exceedances(engine, rules.thresholds(), rules.least, _places(episodes), now)
        except TransientError as error:
            return dg.SkipReason(str(error))
        finally:
            engine.dispose()
        episodes, beyond = follow(episodes, state, rules.thresholds(), rules.least, now)
        told, refusal = _tell(context, webhook, _Words(state, rules, now), episodes)
        episodes = [one for one in episodes if not _is_over(one, now)]
        context.update_cursor(msgspec.json.encode(episodes).decode())
        return dg.SkipReason(_summary(told, episodes, beyond, refusal))

    return alerts


def _remember(cursor: str | None) -> list[Episode]:
    with suppress(msgspec.DecodeError):
        if cursor:
            return msgspec.json.decode(cursor, type=list[Episode])
    return []


def _places(episodes: Iterable[Episode]) -> dict[str, list[str]]:
    """Whose episodes go on, by measure."""
    return {
        measure: [one.location for one in episodes if one.measure == measure and one.ended_at is None]
        for measure in (AQI, TRAFFIC)
    }


def _is_over(episode: Episode, now: datetime) -> bool:
    """Whether nothing is left to be told of it, or it is too late to."""
    if episode.ended_at is None:
        return False
    return episode.is_end_told or now.timestamp() - episode.ended_at > _KEEP_TRYING.total_seconds()


def _event(episode: Episode) -> str | None:
    """What is to be told of it next, if anything."""
    if not episode.is_told:
        return BEGUN
    if episode.ended_at is None or episode.is_end_told:
        return None
    return SILENT if episode.value is None else ENDED


def _tell(
    context: dg.SensorEvaluationContext, webhook: Webhook | None, words: "_Words", episodes: Iterable[Episode]
) -> tuple[list[str], WebhookError | None]:
    """Tell what is due, beginnings first, and note it at the episodes; the texts, and the last refusal."""
    texts: list[str] = []
    refusal = None
    began = time.monotonic()
    for event in (BEGUN, ENDED, SILENT):
        for measure in (AQI, TRAFFIC):
            due = [one for one in episodes if one.measure == measure and _event(one) == event]
            for together in [due] if len(due) > _SINGLY else [[one] for one in due]:
                if time.monotonic() - began > _MOST_SECONDS:
                    continue
                text = words.text(event, measure, together)
                try:
                    if webhook is not None:
                        webhook.post(text, words.fields(event, measure, together))
                except WebhookError as error:  # one that is refused for what it says does not hold up the others
                    refusal = error
                    continue
                context.log.warning(text)
                texts.append(text)
                for episode in together:
                    episode.is_end_told = event != BEGUN
                    episode.is_told = True
    return texts, refusal


def _summary(told: Sequence[str], episodes: Sequence[Episode], beyond: int, refusal: WebhookError | None) -> str:
    going_on = sum(one.ended_at is None for one in episodes)
    waiting = sum(_event(one) is not None for one in episodes)
    parts = [*told, f"episodes that go on: {going_on}."]
    if beyond:
        parts.append(f"{beyond} more places are not followed: that is too many.")
    if waiting:
        parts.append(f"Alerts that wait to be posted: {waiting}. {refusal or 'The next tick goes on.'}")
    return " ".join(parts)


@dataclass(frozen=True, slots=True)
class _Words:
    """What is said, in the city's time."""

    state: Exceedances
    rules: AlertRules
    now: datetime

    def text(self, event: str, measure: str, episodes: Sequence[Episode]) -> str:
        """A sentence or two for a person."""
        extent = self.rules.describe(measure)
        name = "AQI" if measure == AQI else "traffic"
        if len(episodes) > 1:
            what = {
                BEGUN: f"{name} is {extent} at {len(episodes)} more places",
                ENDED: f"{name} is not {extent} any more at {len(episodes)} places",
                SILENT: f"{len(episodes)} places say nothing of {name} any more, which was {extent}",
            }[event]
            places = sorted(one.location for one in episodes)
            rest = f" and {len(places) - _NAMED} others" if len(places) > _NAMED else ""
            return f"{self.state.city}: {what}: {'; '.join(places[:_NAMED])}{rest}."
        (one,) = episodes
        place, since = f"{self.state.city}, {one.location}", self._time(one.since)
        if event == BEGUN:
            return f"{place}: {self._value(one)}. It has been {extent} since {since}."
        until = self._time(one.ended_at or one.since)
        if event == ENDED:
            minutes = round(((one.ended_at or one.since) - one.since) / 60)
            return f"{place}: {self._value(one)} at {until}. It was {extent} from {since} on, for {minutes} minutes."
        return f"{place}: no {name} since {until}. It was {extent} from {since} on; whether it still is, nobody knows."

    def fields(self, event: str, measure: str, episodes: Sequence[Episode]) -> dict[str, object]:
        """The same for a program."""
        return {
            "event": event,
            "city": self.state.city,
            "measure": measure,
            "threshold": self.rules.thresholds()[measure],
            "places": [self._place(event, one) for one in sorted(episodes, key=attrgetter("location"))],
        }

    def _place(self, event: str, episode: Episode) -> dict[str, object]:
        known: dict[str, object] = {"location": episode.location, "since": self._local(episode.since).isoformat()}
        if event != SILENT:
            known |= {"value": episode.value, "category": _category(episode)}
        if event != BEGUN and episode.ended_at is not None:
            known["until"] = self._local(episode.ended_at).isoformat()
        return known

    def _value(self, episode: Episode) -> str:
        name = "AQI" if episode.measure == AQI else "traffic level"
        return f"{name} {episode.value} ({_category(episode)})" if episode.value is not None else f"no {name} now"

    def _local(self, moment: float) -> datetime:
        return CityClock(self.state.timezone).local(datetime.fromtimestamp(moment, UTC))

    def _time(self, moment: float) -> str:
        local = self._local(moment)
        is_today = local.date() == self._local(self.now.timestamp()).date()
        return f"{local:%H:%M %Z}" if is_today else f"{local:%Y-%m-%d %H:%M %Z}"


def _category(episode: Episode) -> str:
    return aqi_category(episode.value) if episode.measure == AQI else traffic_level_name(episode.value)
