"""TomTom's traffic flow: the speeds on the road segment nearest to a point."""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from lambda_pipeline.domain.observation import MAX_SPEED
from lambda_pipeline.errors import SettingsError
from lambda_pipeline.ingestion.http import HttpSession
from lambda_pipeline.ingestion.source_errors import ErrorKind, SourceError

SOURCE = "tomtom"
_PATH = "/traffic/services/4/flowSegmentData/absolute/10/json"

_Speed = Annotated[float, msgspec.Meta(ge=0, le=MAX_SPEED)]


@dataclass(frozen=True, slots=True)
class Flow:
    """What TomTom knows about a road now. Speeds in km/h, 0 to 300; `road_closure` is None where it does not say."""

    current_speed: float
    free_flow_speed: float
    road_closure: bool | None = None


class _Segment(msgspec.Struct, rename="camel"):
    current_speed: _Speed
    free_flow_speed: _Speed
    road_closure: bool | None = None


class _Payload(msgspec.Struct, rename="camel"):
    flow_segment_data: _Segment


def parse_flow(payload: Any) -> Flow:
    """The flow in a decoded answer of flowSegmentData.

    Raises SourceError: `too_far` for a point with no road near, `http` for another refusal, `shape` for what does not
    look like the API or lies outside the domain's ranges.
    """
    if isinstance(payload, dict) and "flowSegmentData" not in payload and "error" in payload:
        too_far = "too far" in str(payload["error"]).lower()
        # The text itself is not quoted: it is the server's, and nothing says that it does not repeat the request.
        if too_far:
            raise SourceError(SOURCE, ErrorKind.TOO_FAR, "no road near the point")
        raise SourceError(SOURCE, ErrorKind.HTTP, "HTTP 400, the request is refused")
    try:
        segment = msgspec.convert(payload, _Payload).flow_segment_data
    except msgspec.ValidationError as error:
        reason = str(error)  # names the field and the types, never a value
    else:
        return Flow(segment.current_speed, segment.free_flow_speed, segment.road_closure)
    raise SourceError(SOURCE, ErrorKind.SHAPE, reason)


class TomTomClient:
    """Asks TomTom. `base_url` without a path, e.g. https://api.tomtom.com or the simulator's."""

    def __init__(self, session: HttpSession, base_url: str, api_key: str) -> None:
        """Raises SettingsError without a key."""
        if not api_key:
            raise SettingsError("TOMTOM_API_KEY is empty.", "Get a key at https://developer.tomtom.com.")
        self._session = session
        self._url = base_url.rstrip("/") + _PATH
        self._api_key = api_key

    def flow(self, latitude: float, longitude: float) -> Flow:
        """Flow on the road nearest to a point (degrees, WGS 84). Raises SourceError."""
        query = {"point": f"{latitude:.6f},{longitude:.6f}", "unit": "KMPH", "key": self._api_key}
        return parse_flow(
            self._session.get_json(SOURCE, self._url, query, self._api_key, readable=frozenset({200, 400}))
        )
