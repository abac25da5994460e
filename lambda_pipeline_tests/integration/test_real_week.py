"""A real week of Los Angeles, imported, recomputed and exported as a user would, against pandas."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lambda_pipeline_tests.cli.commands import Result, run
from lambda_pipeline_tests.integration.real_data import real_data_folder

pytestmark = pytest.mark.integration

ZONE = "America/Los_Angeles"
RANGE = ("--from", "2012-03-01", "--to", "2012-03-08")
SMALL = ("--from", "2012-03-02T07:00", "--to", "2012-03-02T09:00")
MEASURES = [
    "avg_aqi", "avg_traffic", "min_aqi", "max_aqi", "min_traffic", "max_traffic", "data_points_count", "aqi_count",
    "traffic_count", "is_peak_hour",
]  # fmt: skip
HOURLY = ["hour_start", "date", "hour", "location", *MEASURES, "layer"]
DAILY = ["date", "location", *MEASURES]


class Week:
    """The platform's folder, with the week in it, and what each command said."""

    def __init__(self, folder: Path, jars_cache: Path) -> None:
        self.folder = folder
        (folder / "city.toml").write_text(f'name = "Los Angeles"\ntimezone = "{ZONE}"\n', encoding="utf-8")
        self.settings = {
            "LAMBDA_CITY": "city.toml", "LAMBDA_HOME": str(folder / "home"), "LAMBDA_HISTORY_START": "2012-03-01",
            "LAMBDA_CACHE": str(jars_cache),
        }  # fmt: skip
        source = real_data_folder() / "metr_la_week.csv.gz"
        file = folder / source.name  # where a reject file may be written
        file.symlink_to(source.resolve())
        self.imported = self.run("import", file.name, "--add-locations")
        self.backfilled = self.run("backfill", *RANGE)
        self.export("hourly", *RANGE, "--output", "hourly.csv")

    def run(self, *arguments: str) -> Result:
        """One command, which must succeed."""
        result = run(self.folder, *arguments, settings=self.settings)
        assert result.code == 0, result.text
        return result

    def export(self, *arguments: str) -> Result:
        """One export."""
        return self.run("export", *arguments)


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory, jars_cache: Path) -> Week:
    return Week(tmp_path_factory.mktemp("week"), jars_cache)


@pytest.fixture(scope="module")
def observed() -> pd.DataFrame:
    """The file by pandas alone, with city hours and traffic levels computed here."""
    frame = pd.read_csv(real_data_folder() / "metr_la_week.csv.gz")
    local = pd.to_datetime(frame["timestamp"], utc=True).dt.tz_convert(ZONE)
    frame["hour_start"] = local.dt.floor("h").map(lambda moment: moment.isoformat())
    frame["date"] = local.dt.strftime("%Y-%m-%d")
    frame["hour"] = local.dt.hour
    ratio = ((frame["free_flow_speed"] - frame["current_speed"]) / frame["free_flow_speed"]).round(9)
    level = pd.Series(1 + np.searchsorted([0.1, 0.3, 0.5, 0.7], ratio, side="right"), frame.index)
    frame["level"] = level.where(ratio.notna())
    return frame


def expected(observed: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The groups' figures, in the order of serving."""
    return observed.groupby(keys, as_index=False).agg(
        avg_traffic=("level", "mean"), min_traffic=("level", "min"), max_traffic=("level", "max"),
        data_points_count=("level", "size"), traffic_count=("level", "count"),
    )  # fmt: skip


def assert_measures(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Counts, minima and maxima exact, averages within 1e-9, and no trace of air, which the file has not."""
    for name in ("data_points_count", "traffic_count", "min_traffic", "max_traffic"):
        assert found[name].tolist() == wanted[name].tolist(), name
    assert (found["avg_traffic"] - wanted["avg_traffic"]).abs().max() < 1e-9
    assert found[["avg_aqi", "min_aqi", "max_aqi"]].isna().all(axis=None)
    assert (found["aqi_count"] == 0).all()


def test_import_takes_every_row_and_registers_every_location(week: Week) -> None:
    assert "417312 rows read: 417312 new, 0 known, 0 rejected." in week.imported.out
    assert "207 locations registered." in week.imported.out
    assert "backfill --from 2012-03-01 --to 2012-03-08" in week.imported.out
    assert not list(week.folder.glob("*.rejects.csv"))


def test_backfill_publishes_every_hour(week: Week) -> None:
    assert "168 hours published, of 417312 raw rows" in week.backfilled.out
    assert "1449 rows" in week.backfilled.out
    assert "34776 rows" in week.backfilled.out


def test_hourly_export_equals_pandas(week: Week, observed: pd.DataFrame) -> None:
    found = pd.read_csv(week.folder / "hourly.csv")
    keys = ["hour_start", "date", "hour", "location"]
    wanted = expected(observed, keys)
    assert list(found.columns) == HOURLY
    assert len(found) == 34_776
    assert found[keys].to_numpy().tolist() == wanted[keys].to_numpy().tolist()
    assert_measures(found, wanted)
    assert found["data_points_count"].sum() == 417_312
    assert found["is_peak_hour"].tolist() == [6 <= hour < 10 or 16 <= hour < 20 for hour in wanted["hour"]]
    assert set(found["layer"]) == {"batch"}
    assert found["hour_start"].iloc[0] == "2012-03-01T00:00:00-08:00"
    assert found["hour_start"].iloc[-1] == "2012-03-07T23:00:00-08:00"


def test_daily_export_equals_pandas(week: Week, observed: pd.DataFrame) -> None:
    week.export("daily", *RANGE, "-o", "daily.csv")
    found = pd.read_csv(week.folder / "daily.csv")
    wanted = expected(observed, ["date", "location"])
    assert list(found.columns) == DAILY
    assert found[["date", "location"]].to_numpy().tolist() == wanted[["date", "location"]].to_numpy().tolist()
    assert len(found) == 7 * 207
    assert_measures(found, wanted)
    assert found["is_peak_hour"].isna().all()


@pytest.fixture(scope="module")
def two_hours(week: Week) -> pd.DataFrame:
    """A small range, out of the whole week's CSV."""
    found = pd.read_csv(week.folder / "hourly.csv")
    starts = ("2012-03-02T07:00:00-08:00", "2012-03-02T08:00:00-08:00")
    return found[found["hour_start"].isin(starts)].reset_index(drop=True)


def test_json_has_the_same_content_as_csv_on_standard_output(week: Week, two_hours: pd.DataFrame) -> None:
    result = week.export("hourly", *SMALL, "--format", "json")
    records = json.loads(result.out)
    assert [list(record) for record in records] == [HOURLY] * 414
    assert records[0]["avg_aqi"] is None
    found = pd.DataFrame(records).astype({"avg_aqi": "float64", "min_aqi": "float64", "max_aqi": "float64"})
    pd.testing.assert_frame_equal(found, two_hours, rtol=1e-12, check_dtype=False)
    assert "414 rows" in result.err


def test_parquet_has_the_same_content_as_csv_with_instants_and_dates(week: Week, two_hours: pd.DataFrame) -> None:
    week.export("hourly", *SMALL, "--format", "parquet", "-o", "two.parquet")
    found = pd.read_parquet(week.folder / "two.parquet")
    assert list(found.columns) == HOURLY
    assert str(found["hour_start"].dtype) == f"datetime64[us, {ZONE}]"
    found["hour_start"] = found["hour_start"].map(lambda moment: moment.isoformat())
    found["date"] = found["date"].map(lambda day: day.isoformat())
    found = found.astype({"min_aqi": "float64", "max_aqi": "float64"})
    pd.testing.assert_frame_equal(found, two_hours, check_exact=True, check_dtype=False)
