"""Dagster's shells around plain classes. They hold no secrets in their configuration: Dagster shows that to everybody.

Settings are read when a run uses them, in the process that runs it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from dagster import ConfigurableResource

from lambda_pipeline.errors import SettingsError
from lambda_pipeline.settings import Settings, load_settings
from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine
from lambda_pipeline.stream.client import KafkaConnection

if TYPE_CHECKING:
    from lambda_pipeline.archive.archive import Archive
    from lambda_pipeline.serving.layer import ServingLayer


class DatabaseResource(ConfigurableResource):  # type: ignore[type-arg]
    """PostgreSQL as the batch layer uses it (DATABASE_URL)."""

    def engine(self) -> sa.Engine:
        """An engine for one run; dispose of it at the end."""
        return make_engine(_address(load_settings(), "database_url", "DATABASE_URL"), "batch", BATCH_TIMEOUTS)


class LogResource(ConfigurableResource):  # type: ignore[type-arg]
    """The log (KAFKA_BOOTSTRAP_SERVERS, KAFKA_TOPIC). `accept_loss` notes records that are gone and goes on."""

    accept_loss: bool = False

    def connection(self) -> KafkaConnection:
        """Where the brokers are."""
        settings = load_settings()
        if settings.kafka_bootstrap_servers is None:
            raise SettingsError("KAFKA_BOOTSTRAP_SERVERS is not set.", "Start through `lambda-pipeline up`, or set it.")
        return KafkaConnection(settings.kafka_bootstrap_servers, settings.kafka_security())

    def topic(self) -> str:
        """The topic's name."""
        return load_settings().kafka_topic

    def readers(self) -> int | None:
        """How many processes may read it (LAMBDA_RAW_READERS); None where that is not set."""
        return load_settings().raw_readers


class ArchiveResource(ConfigurableResource):  # type: ignore[type-arg]
    """The archive (LAMBDA_ARCHIVE_URL), where there is one."""

    def is_configured(self) -> bool:
        """Whether there is one."""
        return load_settings().archive_place is not None

    def of(self, engine: sa.Engine) -> "Archive | None":
        """The archive of the engine's database; None where there is none."""
        settings = load_settings()
        if settings.archive_place is None:
            return None
        from lambda_pipeline.archive.archive import Archive  # with Arrow

        return Archive(engine, settings.archive_place, settings.archive_access)


@dataclass(frozen=True, slots=True)
class BatchEngineOptions:
    """What computes hours: "postgres", "duckdb", "spark" or "auto", and what the engines are given."""

    engine: str = "postgres"
    duckdb_memory_mb: int = 1024
    duckdb_threads: int | None = None
    spark_master: str = "local[*]"
    spark_driver_host: str = "127.0.0.1"
    spark_memory_mb: int = 1024


class BatchEngineResource(ConfigurableResource):  # type: ignore[type-arg]
    """What computes the hours of a run (LAMBDA_BATCH_ENGINE)."""

    def options(self) -> BatchEngineOptions:
        """As it is set now."""
        settings = load_settings()
        return BatchEngineOptions(
            settings.batch_engine, settings.duckdb_memory_mb, settings.duckdb_threads, settings.spark_master,
            settings.spark_driver_host, settings.spark_memory_mb,
        )  # fmt: skip


class ServingResource(ConfigurableResource):  # type: ignore[type-arg]
    """The serving layer, for assets and notebooks that read what the dashboard reads."""

    def layer(self) -> "ServingLayer":
        """The plain class, as the reader (LAMBDA_READER_DATABASE_URL, else DATABASE_URL)."""
        from lambda_pipeline.serving.layer import ServingLayer  # with pandas, half a second that most runs spare

        settings = load_settings()
        name = "reader_database_url" if settings.reader_database_url else "database_url"
        return ServingLayer(make_engine(_address(settings, name, "DATABASE_URL"), "serving"), settings.archive)


def _address(settings: Settings, name: str, variable: str) -> str:
    secret = getattr(settings, name)
    if secret is None:
        raise SettingsError(f"{variable} is not set.", "Start through `lambda-pipeline up`, or set it.")
    return str(secret.get_secret_value())
