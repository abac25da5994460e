"""What the serving tests put in, and what must come out: a log that both layers read, and plain pandas beside it."""

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import numpy as np
import pandas as pd

from lambda_pipeline.batch.days import compute_days
from lambda_pipeline.batch.publish import hours_to_publish, publish_hours
from lambda_pipeline.batch.raw_store import Chunk, store_chunk
from lambda_pipeline.domain.log import DeadLetter, Incoming
from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.speed.commit import MicroBatch, Move, commit_micro_batch
from lambda_pipeline.storage.dead_letters import insert_dead_letters
from lambda_pipeline.storage.deployment import load_deployment
from lambda_pipeline.storage.engine import transaction
from lambda_pipeline.storage.log_partitions import register_partitions
from lambda_pipeline_tests.servers import Database

FAR_DATES = date(2000, 1, 1), date(2100, 1, 1)
_LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
_BEYOND = 1_000_000  # offset of the first dead letter


class Log:
    """One log partition of a test, and both layers' readers of it, which advance when they are told to."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with transaction(database.writer) as connection:
            deployment = load_deployment(connection)
            self._partition = register_partitions(connection, uuid4(), "observations", [0])[0]
        self._validator = deployment.validator()
        self._timezone = deployment.timezone
        self.records: list[Incoming] = []
        self.consumed = self.stored = self.rejected = 0

    def append(self, *messages: ObservationMessage) -> None:
        """Add records to the end of the log, each appended a moment after it was observed."""
        for message in messages:
            appended_at = message.timestamp.astimezone(UTC) + timedelta(seconds=1)
            observation = self._validator.validate(message, appended_at)
            self.records.append(Incoming(observation, "kafka", self._partition.id, len(self.records)))

    def consume(self, until: int | None = None) -> int:
        """The speed layer commits up to a record, or the end; returns what it gained."""
        end = len(self.records) if until is None else until
        rows = tuple(self.records[self.consumed : end])
        move = Move(self._partition, self.consumed, end)
        gained = commit_micro_batch(self._database.writer, MicroBatch(rows, (), (move,)), self._timezone)
        self.consumed = end
        return gained

    def store(self, until: int | None = None) -> int:
        """raw_data takes the records up to one, or the end; returns the new rows."""
        end = len(self.records) if until is None else until
        rows = tuple(self.records[self.stored : end])
        stored = store_chunk(self._database.writer, Chunk(rows, (), {self._partition.id: (self.stored, end)}))
        self.stored = end
        return stored

    def reject(self, payload: bytes | None, key: bytes | None = None, appended_at: datetime = _LONG_AGO) -> None:
        """A dead letter, beyond the records of this log."""
        self.rejected += 1
        letter = DeadLetter(
            self._partition.id, _BEYOND + self.rejected, appended_at, key, payload, "not an observation"
        )
        with transaction(self._database.writer) as connection:
            insert_dead_letters(connection, [letter])

    def publish(self, first: date = FAR_DATES[0], until: date = FAR_DATES[1]) -> int:
        """Stale hours of the city days [first, until) become batch results; returns how many."""
        hours = hours_to_publish(self._database.writer, first, until)
        return publish_hours(self._database.writer, hours, self._timezone, "test").hours

    def compute_days(self, first: date = FAR_DATES[0], until: date = FAR_DATES[1]) -> None:
        """The tables of the days, as the batch layer's last three assets make them."""
        for table in ("daily_aggregations", "peak_hours_analysis", "peak_hours"):
            compute_days(self._database.writer, table, first, until, "test")  # type: ignore[arg-type]


def message(
    location: str,
    timestamp: datetime,
    aqi: int | None = None,
    level: int | None = None,
    speeds: tuple[float, float] | None = None,
    **more: object,
) -> ObservationMessage:
    """An observation on the wire. `speeds` are (current, free flow) in km/h."""
    current, free = speeds or (None, None)
    return ObservationMessage(
        schema_version=1, timestamp=timestamp, location=location, aqi_value=aqi, traffic_level=level,
        current_speed=current, free_flow_speed=free, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def some_days(first: datetime, days: int, locations: Sequence[str], seed: int = 1) -> list[ObservationMessage]:
    """Observations every twelve minutes with halves, nothing at all and closed roads among them; the last place
    never has an AQI."""
    draw = random.Random(seed)
    found = []
    for slot in range(days * 24 * 5):
        for number, location in enumerate(locations):
            if draw.random() < 0.1:  # a poll that failed altogether
                continue
            aqi = draw.randint(0, 400) if draw.random() < 0.7 and number < len(locations) - 1 else None
            free = round(draw.uniform(30, 90), 3)
            speeds = (round(draw.uniform(0, 95), 3), free) if draw.random() < 0.7 else None
            closed = draw.random() < 0.05 if speeds else None
            at = first + timedelta(minutes=12 * slot)
            found.append(message(location, at, aqi, speeds=speeds, road_closure=closed))
    return found


def as_frame(messages: Iterable[ObservationMessage], zone: str, windows: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """The observations with everything derived, computed by pandas and not by our domain."""
    frame = pd.DataFrame(
        [
            (m.timestamp, m.location, m.aqi_value, m.traffic_level, m.current_speed, m.free_flow_speed, m.road_closure)
            for m in messages
        ],
        columns=["timestamp", "location", "aqi", "level", "speed", "free", "closed"],
    ).astype({"aqi": "float64", "level": "float64", "speed": "float64", "free": "float64"})
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True).astype("datetime64[us, UTC]")
    frame = frame.drop_duplicates(["location", "timestamp"])
    local = frame["timestamp"].dt.tz_convert(zone)
    within = pd.to_timedelta(local.dt.minute * 60 + local.dt.second, unit="s")
    frame["hour_start"] = (frame["timestamp"] - within).dt.floor("s").astype("datetime64[us, UTC]")
    frame["date"] = pd.to_datetime(local.dt.strftime("%Y-%m-%d")).astype("datetime64[us]")
    frame["hour"] = local.dt.hour.astype("int64")
    frame["peak"] = [any(start <= hour < end for start, end in windows) for hour in frame["hour"]]
    frame["ratio"] = ((frame["free"] - frame["speed"]) / frame["free"].where(frame["free"] > 0)).round(9)
    derived = pd.Series(1 + np.searchsorted([0.1, 0.3, 0.5, 0.7], frame["ratio"], side="right"), frame.index)
    derived = derived.where(frame["ratio"].notna()).mask(frame["closed"].fillna(False).astype(bool), 5)
    frame["level"] = frame["level"].fillna(derived.astype("float64"))
    return frame


_BANDS = ((50, "Good"), (100, "Moderate"), (150, "Unhealthy for Sensitive Groups"), (200, "Unhealthy"),
          (300, "Very Unhealthy"), (float("inf"), "Hazardous"))  # fmt: skip


def category(aqi: float) -> str:
    """US EPA's name for a value or an average."""
    return "Unknown" if pd.isna(aqi) else next(name for upper, name in _BANDS if aqi <= upper)


_LEVELS = ("Lancar", "Agak Lancar", "Sedang", "Padat", "Macet Total")


def _level(average: float) -> str:
    """The name of the nearest level, halves up."""
    return _LEVELS[int(average + 0.5) - 1]


def grouped(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The measures of groups of observations, under serving's names."""
    groups = frame.groupby(keys, as_index=False, dropna=False)
    result = groups.agg(
        avg_aqi=("aqi", "mean"), avg_traffic=("level", "mean"), min_aqi=("aqi", "min"), max_aqi=("aqi", "max"),
        min_traffic=("level", "min"), max_traffic=("level", "max"), avg_speed=("speed", "mean"),
        avg_congestion_ratio=("ratio", "mean"), data_points_count=("timestamp", "size"), aqi_count=("aqi", "count"),
        traffic_count=("level", "count"),
    )  # fmt: skip
    for name in ("min_aqi", "max_aqi", "min_traffic", "max_traffic"):
        result[name] = result[name].astype("Int64")
    result["aqi_category"] = [category(value) for value in result["avg_aqi"]]
    result["aqi_category"] = result["aqi_category"].astype("str")
    return result


def hourly(frame: pd.DataFrame) -> pd.DataFrame:
    """What `get_hourly` must hold, without expected counts and layers."""
    result = grouped(frame, ["hour_start", "date", "hour", "peak", "location"])
    return result.rename(columns={"peak": "is_peak_hour"}).sort_values(["hour_start", "location"], ignore_index=True)


def daily(frame: pd.DataFrame) -> pd.DataFrame:
    """What `get_daily` must hold, without expected counts."""
    result = grouped(frame, ["date", "location"])
    for prefix, chosen in (("peak", frame[frame["peak"]]), ("off_peak", frame[~frame["peak"]])):
        part = grouped(chosen, ["date", "location"])[["date", "location", "avg_aqi", "avg_traffic"]]
        part = part.rename(columns={name: f"{prefix}_{name}" for name in ("avg_aqi", "avg_traffic")})
        result = result.merge(part, on=["date", "location"], how="left")
    return result.sort_values(["date", "location"], ignore_index=True)


def statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """What `get_statistics` must hold, without expected counts: the city first."""
    both = pd.concat([frame.assign(location=None), frame], ignore_index=True)
    result = grouped(both, ["location"])
    for prefix, chosen in (("peak", both[both["peak"]]), ("off_peak", both[~both["peak"]])):
        part = grouped(chosen, ["location"])[["location", "avg_aqi", "avg_traffic"]]
        part = part.rename(columns={name: f"{prefix}_{name}" for name in ("avg_aqi", "avg_traffic")})
        result = result.merge(part, on="location", how="left")
    return result.sort_values("location", na_position="first", ignore_index=True)


def city_hourly(frame: pd.DataFrame) -> pd.DataFrame:
    """What `get_city_hourly` must hold, without expected counts and layers."""
    result = grouped(frame, ["hour_start", "date", "hour", "peak"]).rename(columns={"peak": "is_peak_hour"})
    result["is_weekend"] = result["date"].dt.day_of_week >= 5
    return result.sort_values("hour_start", ignore_index=True)


def distribution(frame: pd.DataFrame) -> pd.DataFrame:
    """What `get_distribution` must hold: hours at one location, by the band of their average."""
    hours = hourly(frame)
    bands = {
        "aqi": ([name for _, name in _BANDS], hours["avg_aqi"].map(category)),
        "traffic": (list(_LEVELS), hours["avg_traffic"].map(lambda level: level if pd.isna(level) else _level(level))),
    }
    rows = [
        (measure, band, rank, int((found == band).sum()))
        for measure, (names, found) in bands.items()
        for rank, band in enumerate(names, 1)
    ]
    return pd.DataFrame(rows, columns=["measure", "band", "rank", "hours"]).astype({"measure": "str", "band": "str"})


def assert_equal(found: pd.DataFrame, expected: pd.DataFrame, without: Iterable[str] = ()) -> None:
    """The same rows in the same order, in every column that is expected; averages to a part in a thousand million."""
    columns = [name for name in found.columns if name not in set(without)]
    missing = [name for name in columns if name not in expected.columns]
    assert not missing, f"the expectation lacks {missing}"
    pd.testing.assert_frame_equal(found[columns], expected[columns], rtol=1e-9, atol=1e-9, check_exact=False)


def dtypes(frame: pd.DataFrame) -> Mapping[str, str]:
    """Columns in their order, with their dtypes as frames.py writes them."""
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}
