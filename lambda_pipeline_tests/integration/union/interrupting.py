"""Somebody dies, or somebody else comes, at a moment of somebody's transaction."""

from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.errors import DatabaseUnavailableError
from lambda_pipeline.storage.engine import Timeouts, is_conflict, make_engine, transaction
from lambda_pipeline_tests.integration.union.forgetting import OLD_MESSAGES, Forgetting
from lambda_pipeline_tests.integration.union.machine import FEW_MESSAGES, KINDS, PARTITIONS, city_hour
from lambda_pipeline_tests.integration.union.moments import DiedError, Moments, Way
from lambda_pipeline_tests.integration.union.operations import InTheWayError, Operation, apply, apply_with
from lambda_pipeline_tests.integration.union.reading import found, wanted

# About as many as an operation has: of a swap there are more than of a commit.
MOMENTS = {
    "consume": 6, "store": 7, "import": 9, "publish": 24, "compute": 4, "archive": 16, "drop": 24, "retry": 24,
}  # fmt: skip
FORGETTING = st.sampled_from(["archive", "drop", "retry"])
WAYS: st.SearchStrategy[Way] = st.sampled_from(["raises", "vanishes", "within a statement", "after the commit"])


@dataclass(frozen=True)
class Scene:
    """What was produced, and what became of it, before the transaction to which something happens at a moment."""

    messages: list[ObservationMessage]
    partition: int
    before: list[str]
    moment: int


SCENES = st.builds(Scene, FEW_MESSAGES, PARTITIONS, st.lists(KINDS, max_size=2), st.integers(0, 23))
OLD_SCENES = st.builds(Scene, OLD_MESSAGES, PARTITIONS, st.lists(KINDS, max_size=2), st.integers(0, 23))


class Union(Forgetting):
    """The platform, all that may happen to it included."""

    moments: Moments  # of the database's writer

    def __init__(self) -> None:
        super().__init__()
        self.others = make_engine(self.database.url(), "others", Timeouts(lock=0.05))
        self.open.callback(self.others.dispose)

    @rule(kind=KINDS, scene=SCENES, way=WAYS)
    def die(self, kind: str, scene: Scene, way: Way) -> None:
        """Between two statements, in the middle of one, or when it has committed and could not say so."""
        self._play(scene)
        operation = self._operation(kind, scene.messages)
        try:
            with self.moments.dying(way, scene.moment % MOMENTS[kind]):
                result = operation.run(self.database.writer)
        except (DiedError, DatabaseUnavailableError):
            if self.moments.committed == len(operation.transactions):
                apply(operation, self.model)
        else:
            assert result == apply(operation, self.model)

    @rule(scene=SCENES, way=WAYS)
    def die_while_committing(self, scene: Scene, way: Way) -> None:
        self.die("consume", scene, way)

    @rule(scene=SCENES, way=WAYS)
    def die_while_publishing(self, scene: Scene, way: Way) -> None:
        self.die("publish", scene, way)

    @rule(kind=KINDS, scene=SCENES, other=KINDS)
    def come_between(self, kind: str, scene: Scene, other: str) -> None:
        """Between two statements of a transaction somebody does something else, unless a lock is in the way.

        What comes of it must be what comes of the two after one another, in one order or the other.
        """
        if {kind, other} in ({"import"}, {"import", "store"}, {"compute"}):  # they take turns, and try for seconds
            other = "store" if kind == "store" else "publish"
        self._play(scene)
        first, second = self._operation(kind, scene.messages), self._operation(other, scene.messages[::-1])
        others: list[Any] = []
        with self.moments.at(scene.moment % MOMENTS[kind], lambda _: self._try(second, others)):
            result = first.run(self.database.writer)
        self._settle(first, second if others else None, (result, others[0] if others else None))

    @rule(scene=SCENES, other=KINDS)
    def come_between_a_commit(self, scene: Scene, other: str) -> None:
        self.come_between("consume", scene, other)

    @rule(scene=SCENES, other=KINDS)
    def come_between_a_store(self, scene: Scene, other: str) -> None:
        self.come_between("store", scene, other)

    @rule(scene=SCENES, other=KINDS)
    def come_between_a_publish(self, scene: Scene, other: str) -> None:
        self.come_between("publish", scene, other)

    @rule(scene=SCENES, other=st.sampled_from(["store", "import"]))
    def come_between_a_prepare(self, scene: Scene, other: str) -> None:
        self.come_between("publish", replace(scene, moment=scene.moment % 4), other)

    # ------------------------------------------------------------ while something is forgotten

    @precondition(Forgetting.has_months)
    @rule(kind=FORGETTING, scene=OLD_SCENES, way=WAYS)
    def die_while_forgetting(self, kind: str, scene: Scene, way: Way) -> None:
        scene = self._make_ready(kind, scene)
        if self.has_months():
            self.die(kind, scene, way)

    @precondition(Forgetting.has_months)
    @rule(kind=FORGETTING, scene=OLD_SCENES, other=st.sampled_from(["consume", "store", "publish", "archive"]))
    def come_between_forgetting(self, kind: str, scene: Scene, other: str) -> None:
        scene = self._make_ready(kind, scene)
        if self.has_months():
            self.come_between(kind, scene, other)

    @precondition(Forgetting.has_months)
    @rule(kind=st.sampled_from(["consume", "store", "import"]), scene=OLD_SCENES)
    def forget_between(self, kind: str, scene: Scene) -> None:
        """What was judged before a month was dropped is refused after it."""
        scene = replace(self._make_ready("drop", scene), moment=scene.moment % 2)  # before and after it takes its lock
        self.come_between(kind, scene, "drop")

    def _make_ready(self, kind: str, scene: Scene) -> Scene:
        """A month that may be dropped, or letters that wait."""
        self._make_ready_to_drop()
        if kind != "retry":
            return replace(scene, before=[])
        if not self.has_forgotten():
            self._do(self._operation("drop"))
        return replace(scene, before=["consume"])

    def _play(self, scene: Scene) -> None:
        self.produce(scene.messages, scene.partition)
        for kind in scene.before:
            self._do(self._operation(kind, scene.messages))

    def _try(self, operation: Operation, results: list[Any]) -> None:
        try:
            results.append(operation.run(self.others))
        except InTheWayError:
            pass
        except sa.exc.DBAPIError as error:
            if not is_conflict(error):
                raise

    def _settle(self, first: Operation, second: Operation | None, results: tuple[Any, Any]) -> None:
        """Go on with the order of the two that explains what the tables hold."""
        with transaction(self.database.reader, "REPEATABLE READ", read_only=True) as connection:
            held = found(connection)
        tried = []
        for number in range(len(first.transactions) + 1 if second else 1):
            model = self.model.copy()
            tried.append((apply_with(first, second, number, model), wanted(model, city_hour)))
            if tried[-1] == (results, held):
                self.model = model
                return
        raise AssertionError(f"in no order does this come of it: {(results, held)}, but one of {tried}")
