"""Errors that say what to do, and Dagster's resource over the same class."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from lambda_pipeline.domain.observation import ObservationMessage
from lambda_pipeline.errors import DatabaseUnavailableError, SchemaError
from lambda_pipeline.local.home import free_port
from lambda_pipeline.resources import ServingResource
from lambda_pipeline.serving.layer import ServingLayer
from lambda_pipeline.storage.engine import make_engine
from lambda_pipeline_tests.integration.serving.data import Log
from lambda_pipeline_tests.integration.serving.ways import AGES, ARGUMENTS, FIRST, READS, UNTIL, both_layers
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration


def every_method(layer: ServingLayer) -> dict[str, Callable[[], object]]:
    """The layer's own methods, each with what it has to be given."""
    found = {name: partial(getattr(layer, name), *ARGUMENTS.get(name, (FIRST, UNTIL))) for name in READS}
    return found | {"city": layer.city, "count_raw_data": partial(layer.count_raw_data, FIRST, UNTIL)}


def test_a_server_that_is_away_is_database_unavailable() -> None:
    layer = ServingLayer(make_engine(f"postgresql://nobody:verysecret@127.0.0.1:{free_port()}/nothing", "test"))
    for call in every_method(layer).values():
        with pytest.raises(DatabaseUnavailableError) as caught:
            call()
        assert "verysecret" not in str(caught.value)


def test_an_empty_database_is_a_schema_error_that_says_what_to_do(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url, "test")
    try:
        for call in every_method(ServingLayer(engine)).values():
            with pytest.raises(SchemaError, match="lambda-pipeline db upgrade"):
                call()
    finally:
        engine.dispose()


def test_a_database_that_belongs_to_no_city_is_a_schema_error(database: Database) -> None:
    with database.owner.begin() as connection:
        connection.execute(sa.text("delete from deployment"))
    with pytest.raises(SchemaError, match="db upgrade"):
        ServingLayer(database.reader).city()


def test_the_dagster_resource_is_equal_to_the_class(
    database: Database,
    serving: ServingLayer,
    log: Log,
    two_days: list[ObservationMessage],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    both_layers(log, two_days)
    monkeypatch.chdir(tmp_path)  # no .env
    monkeypatch.setenv("DATABASE_URL", database.url())
    monkeypatch.setenv("LAMBDA_READER_DATABASE_URL", database.url("lambda_reader"))
    layer = ServingResource().layer()
    assert type(layer) is ServingLayer
    with layer.snapshot() as view:
        assert view.scalar(sa.text("select current_user")) == "lambda_reader"
    assert layer.city() == serving.city()
    ours_by_name = every_method(serving)
    for name, call in every_method(layer).items():
        found, expected = call(), ours_by_name[name]()
        assert type(found) is type(expected)
        if isinstance(found, pd.DataFrame) and isinstance(expected, pd.DataFrame):
            found, expected = (frame.drop(columns=AGES, errors="ignore") for frame in (found, expected))
            pd.testing.assert_frame_equal(found, expected, obj=name)
        else:
            assert found == expected


def test_the_dagster_resource_reads_as_the_writer_where_no_reader_is_named(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database.url())
    monkeypatch.delenv("LAMBDA_READER_DATABASE_URL", raising=False)
    with ServingResource().layer().snapshot() as view:
        assert view.scalar(sa.text("select current_user")) == "lambda_writer"
