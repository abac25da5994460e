"""Colours of the page, each for one meaning. EPA's own colours come from the domain; nothing here depends on a frame.

Colour is never the only sign: wherever one of these stands for a value, the value or its name is written too.
"""

from dataclasses import dataclass
from typing import Final

# Levels 1 to 5, from free to jammed, after the colours that road maps have taught everybody.
TRAFFIC_COLOURS: Final = {1: "#2f9e57", 2: "#9ccc3c", 3: "#f6c51d", 4: "#f17f1a", 5: "#c81d25"}
UNKNOWN_COLOUR: Final = "#9e9e9e"

# The two measures, wherever they stand beside each other: told apart by the colour-blind too.
TRAFFIC: Final = "#2e7de0"
AQI: Final = "#d9480f"
TRAFFIC_SCALE: Final = ((0.0, "#e8f1fc"), (0.5, "#6aa5ec"), (1.0, "#123e7c"))
AQI_SCALE: Final = ((0.0, "#fdeee3"), (0.5, "#f2935c"), (1.0, "#7f2a06"))

PEAK_SHADE: Final = "rgba(245, 158, 11, 0.16)"
PEAK_FRAME: Final = "#d97706"
BOTH_PEAKS: Final = "#7c3aed"  # an hour that is a peak of traffic and of AQI
OUTLINE: Final = "rgba(110, 118, 129, 0.65)"  # so that EPA's yellow is seen on white, and its maroon on black
GRID: Final = "rgba(128, 134, 145, 0.22)"
MUTED: Final = "#8b93a1"  # legible on light and on dark

# What Streamlit's own options cannot say: less air above, cards and filters that stand two by two on a phone, captions
# with the contrast that WCAG asks for (4.5; Streamlit's have 3.9 on white), grey shapes where something is going to be,
# and a focus that is seen on every ground.
PAGE_CSS: Final = """<style>
[data-testid="stMainBlockContainer"] {padding-top: 2.75rem; padding-bottom: 2rem;}
.st-key-freshness > div, .st-key-cards > div, .st-key-changes > div, .st-key-raw-filters > div,
.st-key-raw-order-row > div {
  flex: 1 1 9.5rem !important; min-width: 9.5rem;}
.st-key-freshness [data-testid="stMetricValue"], .st-key-cards [data-testid="stMetricValue"],
.st-key-changes [data-testid="stMetricValue"] {font-size: 1.75rem;}
[data-testid="stCaptionContainer"][data-testid] {color: inherit; opacity: 0.8;}
/* seen wherever the reader has scrolled to */
[data-testid="stLayoutWrapper"]:has(> .st-key-failure) {
  position: sticky; top: 3.75rem; z-index: 9; backdrop-filter: blur(12px);}
[data-testid="stLayoutWrapper"]:has(> .st-key-library) {display: none;}
.st-key-foot {margin-top: 1.5rem; padding-top: 0.75rem; border-top: 1px solid rgba(128, 134, 145, 0.3);}
.skeleton i {display: block; border-radius: 0.5rem; background: rgba(128, 134, 145, 0.16);
  animation: skeleton 1.6s ease-in-out infinite;}
.skeleton-cards, .skeleton-charts {display: flex; flex-wrap: wrap; gap: 1rem; margin-bottom: 1rem;}
.skeleton-cards i {flex: 1 1 9.5rem; height: 7rem;}
.skeleton-charts i {flex: 1 1 20rem; height: 24rem;}
@keyframes skeleton {50% {opacity: 0.45;}}
@media (prefers-reduced-motion: reduce) {.skeleton i {animation: none;}}
:is(a, button, summary, [role="tab"], [tabindex]):focus-visible {outline: 2px solid #2e7de0; outline-offset: 2px;}
@media (max-width: 640px) {
  [data-testid="stMainBlockContainer"] {padding-top: 4rem;}
  [data-testid="stMetricLabel"] *, [data-testid="stMetricDelta"] * {white-space: normal !important; overflow: visible;}
  .st-key-freshness [data-testid="stMetricValue"], .st-key-cards [data-testid="stMetricValue"],
  .st-key-changes [data-testid="stMetricValue"] {font-size: 1.35rem;}
}
</style>"""

# Status badges, in the names that Streamlit knows.
STATUS_COLOURS: Final = {"live": "green", "delayed": "orange", "stale": "red", "nothing": "gray"}
STATUS_ICONS: Final = {
    "live": ":material/sensors:",
    "delayed": ":material/schedule:",
    "stale": ":material/warning:",
    "nothing": ":material/hourglass_empty:",
}


@dataclass(frozen=True, slots=True)
class MapColours:
    """What a map is drawn on where no tile covers it."""

    ground: str
    grid: str
    ink: str
    edge: str


LIGHT_MAP: Final = MapColours(ground="#f3f5f8", grid="#dde2e9", ink="#1f2933", edge="#3b4754")
DARK_MAP: Final = MapColours(ground="#161b24", grid="#262e3b", ink="#e6eaf0", edge="#c3cad4")


def ink_on(colour: str) -> str:
    """Black or white, whichever contrasts more with "#rrggbb" (WCAG relative luminance)."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#111111" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "#ffffff"


def with_alpha(colour: str, alpha: float) -> str:
    """ "#rrggbb" as CSS rgba()."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha:g})"
