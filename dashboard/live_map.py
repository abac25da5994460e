"""A Plotly map that stays where its reader has moved it to while its data change.

Streamlit mounts a chart anew whenever its data changed: its element's identity is a hash over the figure, with or
without a key, and the browser's part of it takes no new figure for an old identity. So zoom would be lost with every
new observation, and a replay would flicker. This component (live_map.js) hands new data to the same map instead. The
plotly.js that it needs is the one inside the plotly package, so it fits the figures and comes from this server.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import plotly
import plotly.graph_objects as go
import streamlit as st
from streamlit.components.v1 import declare_component

from dashboard.figures import CONFIG

_LIBRARY: Final = declare_component("library", path=str(Path(plotly.__file__).parent / "package_data"))
_COMPONENT: Final = st.components.v2.component(
    "lambda_pipeline.live_map",
    js=(Path(__file__).parent / "live_map.js").read_text(encoding="utf-8"),
    isolate_styles=False,  # Plotly writes its styles into the page's head, which a shadow root would not see
)


_LIBRARY_PATH: Final = f"component/{_LIBRARY.name}/plotly.min.js"


def load_library(*, is_wanted: bool) -> None:
    """Have the browser load what draws maps while the data that they are to show are read. Takes no room."""
    with st.container(key="library"):  # which the page's style hides; always there, so that the rest keeps its place
        if is_wanted:
            _COMPONENT(key="library-of-maps", data=json.dumps({"words": {"library": _LIBRARY_PATH}}).encode())


@dataclass(frozen=True, slots=True)
class Step:
    """What a map reports once it was drawn: `number`, after so many milliseconds, by calling `then`."""

    number: int
    milliseconds: int
    then: Callable[[], None]


def live_map(
    figure: go.Figure,
    key: str,
    *,
    view: str,
    alt: str,
    failure: str,
    numbers_from: float = 0,
    step: Step | None = None,
) -> None:
    """Draw a figure with a `layout.map`. The reader's centre and zoom are kept as long as `view` is the same.

    Its texts are drawn from `numbers_from` zoom levels nearer than the whole on. `alt` describes it to those who cannot
    see it; `failure` is written where the browser cannot draw it.
    """
    words: dict[str, Any] = {
        "config": CONFIG | {"scrollZoom": False, "showSendToCloud": False},
        "library": _LIBRARY_PATH,
        "height": figure.layout.height,
        "view": view,
        "numbersFrom": numbers_from,
        "alt": alt,
        "failure": failure,
        "step": None if step is None else step.number,
        "after": 0 if step is None else step.milliseconds,
    }
    # as bytes, since the figure is JSON already: as text it would be quoted a second time
    data = f'{{"figure": {figure.to_json()}, "words": {json.dumps(words)}}}'.encode()

    def report() -> None:
        if step is not None and st.session_state[key].get("step") == step.number:  # else of a step that has passed
            step.then()

    _COMPONENT(key=key, data=data, on_step_change=report)
