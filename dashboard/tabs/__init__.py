"""One module per tab: `read` asks for what it shows, `show` lays it out; figures and tables come from elsewhere."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dashboard.context import Context
from dashboard.reading import Choice, Reads

Data = TypeVar("Data")


def nothing_chosen() -> Hashable:
    """Of a tab without widgets that matter for reading."""
    return None


@dataclass(frozen=True, slots=True)
class Tab(Generic[Data]):
    """A tab. Only the open one reads and shows.

    `chosen` says what its own widgets say, from the session's state, before they are drawn; `read` gets it as
    `choice.own`. What `read` returns is shared by all who made the same choice, so it uses neither the session nor
    `context.texts` or `context.units`, and `show` changes none of its frames in place.
    """

    key: str  # of its text "tab.{key}", and its name in the address
    read: Callable[[Reads, Choice, Context], Data]
    show: Callable[[Data, Context], None]
    chosen: Callable[[], Hashable] = nothing_chosen
