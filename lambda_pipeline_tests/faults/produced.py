"""How many observations there are at most: an upper bound for what any reader may see."""

import multiprocessing

PROCESSES = multiprocessing.get_context("spawn")  # nothing of the test's connections goes along
_MOST_PLANNED = 10_000


class Produced:
    """Distinct observations, counted by whoever is about to bring them in; shared by processes."""

    def __init__(self) -> None:
        self._total = PROCESSES.Value("q", 0)
        self._planned = PROCESSES.Array("b", _MOST_PLANNED, lock=False)  # guarded by the total's lock

    @property
    def total(self) -> int:
        """So many by now."""
        return self._total.value

    def add(self) -> None:
        """One that nobody else brings in."""
        with self._total.get_lock():
            self._total.value += 1

    def add_planned(self, number: int) -> None:
        """The one with this number in a plan, which others may bring in too: it counts once."""
        with self._total.get_lock():
            self._total.value += not self._planned[number]
            self._planned[number] = True
