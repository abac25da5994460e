"""Which stale days to recompute now: what settles is waited for, what fails is tried ever less often, nothing loops.

Stale is positional (sql/batch/stale_days.sql), so missed runs and late events are absorbed without anyone acting.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from hashlib import md5

import sqlalchemy as sa

from lambda_pipeline.batch.days import DAY_TABLES
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.sql import sql

CLOSED_FOR = timedelta(minutes=10)
"""How long an hour is over before it counts: the hourly schedule comes first."""
SETTLE = timedelta(minutes=1)
"""How long the stale positions of a day stay the same before it is recomputed: late events come in crowds."""
PATIENCE = timedelta(minutes=10)
"""After which a day is recomputed although its positions still change."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=5), timedelta(hours=6)
"""After an attempt that did not help; doubled each time."""
RUNS_A_TICK = 3
_MOST_DAYS = (None, None, 16, 4, 1)  # of one run, by attempts: a day that fails is singled out


@dataclass(frozen=True, slots=True)
class StaleDay:
    """A city day with something to recompute: stale closed hours, or none where only its tables are behind.

    `positions` is a digest of what is stale.
    """

    day: date
    hours: int
    positions: str


@dataclass(frozen=True, slots=True)
class Attempted:
    """What is known of a stale day: since when, since when with these positions, and what was tried (times in UTC)."""

    stale: StaleDay
    first_seen_at: datetime
    changed_at: datetime
    attempts: int = 0
    requested_at: datetime | None = None
    run_key: str | None = None

    def due_at(self) -> datetime:
        """When it may be recomputed."""
        settled: datetime = min(self.changed_at + SETTLE, self.first_seen_at + PATIENCE)
        if self.requested_at is None or not self.attempts:
            return settled
        pause = min(FIRST_PAUSE * int(2 ** min(self.attempts - 1, 10)), LONGEST_PAUSE)
        return max(settled, self.requested_at + pause)


@dataclass(frozen=True, slots=True)
class Request:
    """A run over the contiguous city days [first, until). Its key is new for new positions and for every attempt."""

    first: date
    until: date
    key: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to request now, what to remember, and why whatever is stale and not requested waits."""

    requests: tuple[Request, ...]
    days: tuple[Attempted, ...]
    reason: str


def stale_days(engine: sa.Engine, now: datetime) -> list[StaleDay]:
    """City days with hours that closed at least `CLOSED_FOR` before `now` (aware UTC) and are stale, in order."""
    with transaction(engine, read_only=True) as database:
        values = {"closed_at": now - CLOSED_FOR, "tables": list(DAY_TABLES)}
        return [StaleDay(*row) for row in database.execute(sql("batch/stale_days"), values)]


def plan(
    stale: Sequence[StaleDay],
    known: Mapping[date, Attempted],
    running: Collection[date],
    succeeded: Collection[str],
    now: datetime,
) -> Plan:
    """What to do about stale days, given what is known of them.

    `running` are city days that a run queues for or works on, `succeeded` the keys of runs that ended well: a day
    with other stale positions after one starts anew. With the same ones the run did not help, however it ended.
    """
    days = {one.day: _look_again(one, known.get(one.day), succeeded, now) for one in stale}
    waiting: list[str] = []
    due = []
    for one in days.values():
        if one.stale.day in running:
            waiting.append(f"{one.stale.day} is being recomputed")
        elif one.due_at() > now:
            tried = f"was tried {one.attempts} times" if one.attempts else "may still change"
            waiting.append(f"{one.stale.day} {tried}, it is due at {one.due_at():%Y-%m-%d %H:%M:%S} UTC")
        else:
            due.append(one)
    groups = list(_groups(due))
    requests = []
    for group in groups[:RUNS_A_TICK]:
        request = _request(group)
        requests.append(request)
        for one in group:
            days[one.stale.day] = replace(one, attempts=one.attempts + 1, requested_at=now, run_key=request.key)
    waiting += [f"{group[0].stale.day} waits for its turn, {RUNS_A_TICK} runs a tick" for group in groups[RUNS_A_TICK:]]
    shown = "; ".join(waiting[:3]) + (f"; and {len(waiting) - 3} more" if len(waiting) > 3 else "")
    return Plan(tuple(requests), tuple(days.values()), shown or "nothing is stale")


def _look_again(stale: StaleDay, known: Attempted | None, succeeded: Collection[str], now: datetime) -> Attempted:
    if known is None:
        return Attempted(stale, now, now)
    if known.stale.positions == stale.positions:
        return known
    if known.run_key in succeeded:
        return Attempted(stale, now, now)
    return replace(known, stale=stale, changed_at=now)


def _groups(due: Sequence[Attempted]) -> Iterator[list[Attempted]]:
    """Contiguous days that were tried as often, so many that a day that fails is soon alone."""
    group: list[Attempted] = []
    for before, one in zip([None, *due], due, strict=False):
        most = _MOST_DAYS[min(one.attempts, len(_MOST_DAYS) - 1)]
        follows = (
            before is not None
            and one.stale.day - before.stale.day == timedelta(days=1)
            and one.attempts == before.attempts
        )
        if group and (not follows or (most is not None and len(group) >= most)):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _request(group: Sequence[Attempted]) -> Request:
    first, last, attempt = group[0].stale.day, group[-1].stale.day, group[0].attempts + 1
    digest = md5("".join(one.stale.positions for one in group).encode(), usedforsecurity=False).hexdigest()[:12]
    # The first sight tells a day that is stale again with the same positions from the day before it was fresh.
    since = f"{group[0].first_seen_at:%Y%m%dT%H%M%S}"
    return Request(first, last + timedelta(days=1), f"stale-{first}-{last}-{digest}-{since}-{attempt}")


# ---------------------------------------------------------------- what is remembered between ticks


def load_attempts(engine: sa.Engine) -> dict[date, Attempted]:
    """What earlier ticks noted, by city day."""
    query = sa.text(
        "select city_date, hours, positions, first_seen_at, changed_at, attempts, requested_at, run_key from catch_up"
    )
    with transaction(engine, read_only=True) as database:
        return {
            row.city_date: Attempted(StaleDay(row.city_date, row.hours, row.positions), *row[3:])
            for row in database.execute(query)
        }


def save_attempts(engine: sa.Engine, days: Iterable[Attempted]) -> None:
    """Note these days, and forget all others: they are fresh."""
    rows = [
        {
            "day": one.stale.day, "hours": one.stale.hours, "positions": one.stale.positions,
            "first_seen_at": one.first_seen_at, "changed_at": one.changed_at, "attempts": one.attempts,
            "requested_at": one.requested_at, "run_key": one.run_key,
        }
        for one in days
    ]  # fmt: skip
    with transaction(engine) as database:
        database.execute(sa.text("delete from catch_up"))
        if rows:
            database.execute(
                sa.text(
                    "insert into catch_up (city_date, hours, positions, first_seen_at, changed_at, attempts, "
                    "requested_at, run_key) values (:day, :hours, :positions, :first_seen_at, :changed_at, "
                    ":attempts, :requested_at, :run_key)"
                ),
                rows,
            )
