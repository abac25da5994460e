"""Days go into the archive, months leave raw_data, and what comes too late finds its way back in."""

from datetime import date, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline_tests.integration.observations import APPENDED, seen
from lambda_pipeline_tests.integration.union.machine import (
    DAYS,
    FEW_MESSAGES,
    HOURS,
    MESSAGES,
    MONTHS,
    PARTITIONS,
    PLACES,
    Platform,
)
from lambda_pipeline_tests.integration.union.operations import Operation, archiving, dropping, retrying

ALL_DAYS = [DAYS[0] + timedelta(days=number) for number in range((DAYS[1] - DAYS[0]).days)]
OLD_MESSAGES = st.lists(  # of the hour that is dropped first
    st.builds(seen, st.integers(0, 7), st.sampled_from(PLACES), aqi=st.integers(0, 400), hour=st.just(HOURS[2])),
    min_size=1,
    max_size=4,
)


class Forgetting(Platform):
    """A platform whose database forgets."""

    def has_months(self) -> bool:
        """Whether raw_data has a month to drop."""
        return bool(self.database.rows(MONTHS))

    def has_forgotten(self) -> bool:
        """Whether some observations are too late."""
        return self.model.floor is not None

    @rule(day=st.sampled_from(ALL_DAYS))
    def archive_a_day(self, day: date) -> None:
        self._do(archiving(day, self.place))

    @precondition(lambda self: not self.has_forgotten() or self.has_months())
    @rule(
        messages=OLD_MESSAGES,
        more=OLD_MESSAGES | FEW_MESSAGES,
        partition=PARTITIONS,
        between=st.sampled_from([["consume"], ["store"], ["import"], ["store", "publish"], ["store", "archive"], []]),
    )
    def drop_a_month(
        self,
        messages: list[ObservationMessage],
        more: list[ObservationMessage],
        partition: int,
        between: list[str],
    ) -> None:
        """It goes if all of it is stored, published and archived, and stays if something came since.

        The speed layer may be behind, and meets only later what the archive holds by then.
        """
        self.produce(messages, partition)
        self._make_ready_to_drop()
        self.produce(more, partition)
        for kind in between:
            self._do(self._operation(kind, more))
        if self.has_months():
            assert self._do(self._operation("drop")) or between
        self._do(self._operation("consume"))

    @precondition(has_forgotten)
    @rule(
        messages=OLD_MESSAGES,
        others=st.lists(MESSAGES, max_size=2),
        partition=PARTITIONS,
        layers=st.permutations(["consume", "store"]),
        again=st.booleans(),
    )
    def come_too_late(
        self,
        messages: list[ObservationMessage],
        others: list[ObservationMessage],
        partition: int,
        layers: list[str],
        again: bool,
    ) -> None:
        """One layer or both meet them before they are retried, and maybe the other one after that."""
        self.produce([*messages, *others], partition)
        self._do(self._operation(layers[0]))
        if again:
            self._do(self._operation(layers[1]))
        self.retry_the_letters()
        self._do(self._operation(layers[1]))
        self._do(self._operation("publish", messages))

    @precondition(has_forgotten)
    @rule()
    def retry_the_letters(self) -> None:
        self._do(self._operation("retry"))
        assert not self.model.late

    def _operation(self, kind: str, messages: list[ObservationMessage] | None = None, back: int = 1) -> Operation:
        if kind == "archive":
            return archiving(self.validator.validate((messages or [])[0], APPENDED).city_date, self.place)
        if kind == "retry":
            return retrying(len(self.model.gaining()), self.place)
        if kind == "drop":
            month = datetime.strptime(f"{self.database.scalar(MONTHS)}+0000", "raw_data_%Y_%m%z")
            return dropping(month, len(self.model.days_of(month)), self.place)
        return super()._operation(kind, messages, back)

    def _make_ready_to_drop(self) -> None:
        """All that was consumed, and more, is stored, published and archived."""
        for back in range(1, len(self.logs) + 1):
            self._do(self._operation("store", back=back))
        if stale := sorted(self.model.stale()):
            self.prepare_hours(0, stale)
        for hour in stale:
            self._swap(0, hour)
        for day in sorted(self.model.stale_archives()):
            self.archive_a_day(day)
