"""Episodes: how long a place was at or above a threshold, when that began and ended, and what has been told of it.

An episode begins when every observation of a measure was at or above the threshold for long enough. It ends with the
first that is below, or when the place has said nothing for so long that nobody knows.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from lambda_pipeline.serving.exceedances import Exceedance, Exceedances

MOST = 1_000
"""Episodes that are followed at once. They are a sensor's cursor, which Dagster stores with every tick."""


class Episode(msgspec.Struct, array_like=True):
    """One episode. Times in seconds since 1970; `value` is the newest, and with `ended_at` the one that is below.

    `is_told` says whether its beginning was; one that has ended stays until its end is told as well. `value` is None
    where the place fell silent.
    """

    measure: str
    location: str
    since: float
    seen_at: float
    value: int | None
    is_told: bool = False
    ended_at: float | None = None
    is_end_told: bool = False


def follow(
    episodes: Iterable[Episode], state: Exceedances, measures: Iterable[str], least: timedelta, now: datetime
) -> tuple[list[Episode], int]:
    """The episodes after a look at what is served now, and how many more there are than can be followed.

    Those of a measure that is not watched any more are forgotten.
    """
    watched = set(measures)
    newest = {(one.measure, one.location): one for one in state.found}
    followed: list[Episode] = []
    going_on = set()
    for episode in episodes:
        if episode.measure not in watched:
            continue
        key = episode.measure, episode.location
        if episode.ended_at is None:
            _go_on(episode, newest.get(key), state.silence, now)
        if episode.ended_at is None:
            going_on.add(key)
        followed.append(episode)
    begun = [
        Episode(one.measure, one.location, one.since.timestamp(), one.observed_at.timestamp(), one.value)
        for key, one in newest.items()
        if key not in going_on and one.since is not None
        and one.observed_at - one.since >= least and now - one.observed_at <= state.silence
    ]  # fmt: skip
    begun.sort(key=lambda one: (one.since, one.measure, one.location))
    room = max(MOST - len(followed), 0)
    return followed + begun[:room], len(begun[room:])


def _go_on(episode: Episode, newest: Exceedance | None, silence: timedelta, now: datetime) -> None:
    """Bring an episode up to what is served, which may end it."""
    if newest is not None and newest.below_at is not None and newest.below_at.timestamp() > episode.since:
        episode.ended_at, episode.value = newest.below_at.timestamp(), newest.below_value
        return
    if newest is not None:
        episode.seen_at, episode.value = newest.observed_at.timestamp(), newest.value
    if now - datetime.fromtimestamp(episode.seen_at, UTC) > silence:
        episode.ended_at, episode.value = episode.seen_at, None
