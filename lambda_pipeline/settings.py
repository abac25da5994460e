"""Every setting of the platform, typed and frozen, built once at the edge from the environment and `.env`."""

import os
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lambda_pipeline.addresses import is_broker, password_of, refuse_bad_postgresql
from lambda_pipeline.archive.place import Place, S3Access, parse_place
from lambda_pipeline.domain.air_quality import AQI_BANDS
from lambda_pipeline.domain.catalogue import City, load_city
from lambda_pipeline.errors import SettingsError
from lambda_pipeline.shipped import shipped_path
from lambda_pipeline.stream.security import kafka_security

_Port = Annotated[int, Field(ge=1, le=65535)]
_PortOrNone = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """The first system's names are kept; ours begin with LAMBDA_. Empty means not set."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, env_file_encoding="utf-8", extra="ignore")

    tomtom_api_key: SecretStr | None = Field(
        None, alias="TOMTOM_API_KEY", description="Key of TomTom's traffic API, free at developer.tomtom.com."
    )
    aqicn_token: SecretStr | None = Field(
        None,
        alias="AQICN_TOKEN",
        description="Token of the AQICN air quality API, free at aqicn.org/data-platform/token.",
    )
    kafka_bootstrap_servers: str | None = Field(
        None,
        alias="KAFKA_BOOTSTRAP_SERVERS",
        description="Brokers as host:port, comma-separated; none: the embedded one.",
    )
    kafka_topic: str = Field(
        "traffic-aqi-data", alias="KAFKA_TOPIC", description="The topic that observations go through.",
        pattern=r"^[a-zA-Z0-9._-]{1,249}$",
    )  # fmt: skip
    kafka_consumer_group: str = Field(
        "speed-layer-consumer", alias="KAFKA_CONSUMER_GROUP", description="Consumer group of the speed daemons."
    )
    kafka_partitions: int = Field(
        4,
        alias="LAMBDA_KAFKA_PARTITIONS",
        ge=1,
        le=1000,
        description="Partitions of the topic when it is created, and the fewest that it may have.",
    )
    kafka_security_protocol: str = Field(
        "PLAINTEXT", alias="LAMBDA_KAFKA_SECURITY_PROTOCOL", pattern=r"^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$",
        description="How the brokers are talked to: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
    )  # fmt: skip
    kafka_sasl_mechanism: str | None = Field(
        None, alias="LAMBDA_KAFKA_SASL_MECHANISM", pattern=r"^(PLAIN|SCRAM-SHA-256|SCRAM-SHA-512)$",
        description="With SASL: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.",
    )  # fmt: skip
    kafka_username: str | None = Field(None, alias="LAMBDA_KAFKA_USERNAME", description="With SASL: the user.")
    kafka_password: SecretStr | None = Field(
        None, alias="LAMBDA_KAFKA_PASSWORD", description="With SASL: the user's password."
    )
    kafka_ca_file: Path | None = Field(
        None, alias="LAMBDA_KAFKA_CA_FILE",
        description="With SSL: PEM file of the authority that the brokers are certified by; the system's if not set.",
    )  # fmt: skip
    kafka_certificate_file: Path | None = Field(
        None, alias="LAMBDA_KAFKA_CERTIFICATE_FILE",
        description="With SSL: PEM file of our own certificate, where the brokers ask for one.",
    )  # fmt: skip
    kafka_key_file: Path | None = Field(
        None, alias="LAMBDA_KAFKA_KEY_FILE", description="With SSL: PEM file of that certificate's key."
    )
    database_url: SecretStr | None = Field(
        None, alias="DATABASE_URL", description="PostgreSQL 17+ as the daemons' user; none: the embedded server."
    )
    owner_database_url: SecretStr | None = Field(
        None, alias="LAMBDA_OWNER_DATABASE_URL",
        description="The same database as the user that may change its schema; DATABASE_URL's if not set.",
    )  # fmt: skip
    reader_database_url: SecretStr | None = Field(
        None, alias="LAMBDA_READER_DATABASE_URL",
        description="The same database as a user that may only read, for the dashboard; DATABASE_URL's if not set.",
    )  # fmt: skip
    dagster_database_url: SecretStr | None = Field(
        None, alias="LAMBDA_DAGSTER_DATABASE_URL",
        description="Dagster's own database, as postgresql+psycopg2://…; required where DATABASE_URL is set.",
    )  # fmt: skip
    city_name: str = Field(
        "jakarta", alias="LAMBDA_CITY", description="Name of a shipped city catalogue, or path of a TOML file."
    )
    home: Path = Field(Path(".lambda"), alias="LAMBDA_HOME", description="Data folder of the embedded stack.")
    cache: Path = Field(
        default_factory=lambda: Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lambda-pipeline",
        alias="LAMBDA_CACHE", description="Where downloaded jars are kept; ~/.cache/lambda-pipeline if not set.",
    )  # fmt: skip
    history_start: date = Field(
        date(2025, 1, 1), alias="LAMBDA_HISTORY_START",
        description="First day of history, in city time; earlier observations are refused. Only ever lowered.",
    )  # fmt: skip
    poll_interval_seconds: int | None = Field(
        None, alias="LAMBDA_POLL_INTERVAL", ge=1, le=30 * 86_400,
        description="Seconds between polls of a location; none: computed from the catalogue and the daily quotas.",
    )  # fmt: skip
    tomtom_daily_quota: int = Field(
        2500, alias="LAMBDA_TOMTOM_DAILY_QUOTA", ge=1, le=1_000_000_000,
        description="Requests that TomTom may be asked in a UTC day; its free tier allows 2,500.",
    )  # fmt: skip
    aqicn_daily_quota: int | None = Field(
        None, alias="LAMBDA_AQICN_DAILY_QUOTA", ge=1, le=1_000_000_000,
        description="Requests that AQICN may be asked in a UTC day; none: any number, as its free tokens allow.",
    )  # fmt: skip
    stale_reading_seconds: int = Field(
        3 * 3600, alias="LAMBDA_STALE_READING", ge=60,
        description="Seconds after which a station's reading counts as missing.",
    )  # fmt: skip
    spool_max_mb: int = Field(
        256, alias="LAMBDA_SPOOL_MAX_MB", ge=1, le=1_000_000,
        description="MiB of observations kept on disk while Kafka is away; when they are full, polling pauses.",
    )  # fmt: skip
    tomtom_base_url: str = Field(
        "https://api.tomtom.com", alias="LAMBDA_TOMTOM_URL", description="Base address of TomTom's API."
    )
    aqicn_base_url: str = Field(
        "https://api.waqi.info", alias="LAMBDA_AQICN_URL", description="Base address of the AQICN API."
    )
    speed_max_records: int = Field(
        30_000, alias="LAMBDA_SPEED_MAX_RECORDS", ge=1, le=50_000,
        description="Most records of one speed commit, which also ends at 16 MiB of values.",
    )  # fmt: skip
    speed_max_wait_seconds: float = Field(
        0.25, alias="LAMBDA_SPEED_MAX_WAIT", gt=0, le=60,
        description="Longest that the speed daemon lets a record wait for others before it is committed, in seconds.",
    )  # fmt: skip
    dead_letter_days: int = Field(
        90, alias="LAMBDA_DEAD_LETTER_DAYS", ge=1, le=36_500,
        description="Days after which a dead letter is removed, whether or not somebody looked at it.",
    )  # fmt: skip
    run_days: int = Field(
        90, alias="LAMBDA_RUN_DAYS", ge=8, le=36_500,  # a failed run is told of for a week
        description="Days after which Dagster's runs are removed, but for the newest of each day; at least 8.",
    )  # fmt: skip
    alert_webhook_url: SecretStr | None = Field(
        None, alias="ALERT_WEBHOOK_URL",
        description="Where failed runs, bad air and jams are posted, as JSON with a text; none: they are only logged.",
    )  # fmt: skip
    alert_aqi_category: str = Field(
        "Unhealthy", alias="LAMBDA_ALERT_AQI_CATEGORY",
        description="The AQI category from which on a place's air is told of; 'none': not at all.",
    )  # fmt: skip
    alert_traffic_level: int = Field(
        5, alias="LAMBDA_ALERT_TRAFFIC_LEVEL", ge=0, le=5,
        description="The traffic level from which on a jam is told of, 1 to 5; 0: not at all.",
    )  # fmt: skip
    alert_minutes: int = Field(
        30, alias="LAMBDA_ALERT_MINUTES", ge=1, le=1440,
        description="Minutes that a place must have been so, without an observation that says otherwise.",
    )  # fmt: skip
    archive_url: str | None = Field(
        None, alias="LAMBDA_ARCHIVE_URL",
        description="Where raw_archive keeps days as Parquet: a folder, or s3://bucket/prefix; none: nowhere.",
    )  # fmt: skip
    raw_readers: int | None = Field(
        None, alias="LAMBDA_RAW_READERS", ge=1, le=64,
        description="Processes that read a long log into raw_data at most; none: one for two processors, up to 4.",
    )  # fmt: skip
    batch_engine: Literal["postgres", "duckdb", "spark", "auto"] = Field(
        "postgres", alias="LAMBDA_BATCH_ENGINE",
        description="What aggregates hours: postgres; duckdb or spark over archived days; auto: by the rows.",
    )  # fmt: skip
    duckdb_memory_mb: int = Field(
        1024, alias="LAMBDA_DUCKDB_MEMORY", ge=64, le=1_000_000,
        description="MiB that DuckDB takes before it spills to the temporary folder.",
    )  # fmt: skip
    duckdb_threads: int | None = Field(
        None, alias="LAMBDA_DUCKDB_THREADS", ge=1, le=1024,
        description="Threads of DuckDB; none: one for each processor.",
    )  # fmt: skip
    spark_master: str = Field(
        "local[*]", alias="LAMBDA_SPARK_MASTER", pattern=r"^(local(\[[\d*, ]+\])?|spark://\S+)$",
        description="Where Spark computes: local[*], local[2], spark://host:7077.",
    )  # fmt: skip
    spark_driver_host: str = Field(
        "127.0.0.1", alias="LAMBDA_SPARK_DRIVER_HOST", min_length=1,
        description="This machine's address, at which the cluster's executors find the run.",
    )  # fmt: skip
    spark_memory_mb: int = Field(
        1024, alias="LAMBDA_SPARK_MEMORY", ge=512, le=1_000_000,
        description="MiB of memory for each executor, and for the run's own Java process.",
    )  # fmt: skip
    raw_retention_days: int | None = Field(
        None, alias="LAMBDA_RAW_RETENTION_DAYS", ge=8, le=36_500,  # more than the least that the topic may keep
        description="Days after which archived months leave raw_data, more than the topic keeps; none: never.",
    )  # fmt: skip
    aws_endpoint_url: str | None = Field(
        None, alias="AWS_ENDPOINT_URL", pattern=r"^https?://[^/@\s]+/?$",
        description="Address of the archive's object store, where it is not AWS's own.",
    )  # fmt: skip
    aws_region: str | None = Field(None, alias="AWS_REGION", description="Region of the archive's bucket.")
    aws_access_key_id: SecretStr | None = Field(
        None, alias="AWS_ACCESS_KEY_ID",
        description="Key of the archive's object store; none: as AWS's own tools find one.",
    )  # fmt: skip
    aws_secret_access_key: SecretStr | None = Field(
        None, alias="AWS_SECRET_ACCESS_KEY", description="The secret that belongs to AWS_ACCESS_KEY_ID."
    )
    aws_session_token: SecretStr | None = Field(
        None, alias="AWS_SESSION_TOKEN", description="With keys that expire, the token that belongs to them."
    )
    listen: str = Field("127.0.0.1", alias="LAMBDA_LISTEN", description="Address that what is served listens on.")
    dashboard_port: _Port = Field(
        8501, alias="LAMBDA_DASHBOARD_PORT", description="The dashboard's port; the next free one if taken."
    )
    dagster_port: _Port = Field(
        3000, alias="LAMBDA_DAGSTER_PORT", description="Dagster's port; the next free one if taken."
    )
    refresh_seconds: int = Field(
        10, alias="LAMBDA_REFRESH", ge=1, le=3600, description="Seconds between refreshes of the dashboard."
    )
    tile_url: str = Field(
        "https://tile.openstreetmap.org/{z}/{x}/{y}.png", alias="LAMBDA_TILE_URL",
        description="Raster tiles under the maps; 'none' draws them on a plain background.",
    )  # fmt: skip
    tile_attribution: str = Field(
        "© OpenStreetMap contributors",
        alias="LAMBDA_TILE_ATTRIBUTION",
        description="What the tiles' owner asks to be shown.",
    )
    log_level: str = Field(
        "INFO",
        alias="LAMBDA_LOG_LEVEL",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="DEBUG, INFO, WARNING or ERROR.",
    )

    log_format: Literal["console", "json"] = Field(
        "console", alias="LAMBDA_LOG_FORMAT", description="How the daemons log: console for people, json for machines."
    )
    metrics_host: str = Field(
        "127.0.0.1", alias="LAMBDA_METRICS_HOST", description="Address that the daemons' metrics and health listen on."
    )
    ingest_metrics_port: _PortOrNone = Field(
        9101, alias="LAMBDA_INGEST_METRICS_PORT",
        description="Port of ingest's metrics and health; the next free one of ten if taken; 0 is none.",
    )  # fmt: skip
    speed_metrics_port: _PortOrNone = Field(
        9102, alias="LAMBDA_SPEED_METRICS_PORT",
        description="Port of speed's metrics and health; the next free one of ten if taken; 0 is none.",
    )  # fmt: skip

    @field_validator("tile_url")
    @classmethod
    def _no_tiles(cls, value: str) -> str:
        return "" if value.lower() == "none" else value

    @field_validator("alert_aqi_category")
    @classmethod
    def _is_category(cls, value: str) -> str:
        """As the domain writes it, whichever case it is in."""
        known = {band.category.lower(): band.category for band in AQI_BANDS} | {"none": "none"}
        if value.strip().lower() not in known:
            raise ValueError(f"no AQI category; write one of {', '.join(known.values())}")
        return known[value.strip().lower()]

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _are_brokers(cls, value: str | None) -> str | None:
        """Here, since Kafka's client raises a bare ValueError."""
        if value is not None and not all(map(is_broker, value.split(","))):
            raise ValueError("cannot be read; write host:port, or several of them with commas between")
        return value

    @field_validator("database_url", "owner_database_url", "reader_database_url", "dagster_database_url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        """Here and not where it is used, so that the error names the setting and shows nothing of the password."""
        if value is not None:
            refuse_bad_postgresql(value.get_secret_value())
        return value

    @field_validator("dagster_database_url")
    @classmethod
    def _by_psycopg2(cls, value: SecretStr | None) -> SecretStr | None:
        """The driver that Dagster's NOTIFY works with, whichever one is named."""
        if value is None:
            return None
        return SecretStr(f"postgresql+psycopg2://{value.get_secret_value().partition('://')[2]}")

    @field_validator("archive_url")
    @classmethod
    def _is_place(cls, value: str | None) -> str | None:
        if value is not None:
            parse_place(value)
        return value

    @cached_property
    def city(self) -> City:
        """The city's catalogue. Raises CatalogueError."""
        name = self.city_name
        if self._names_file():
            return load_city(Path(name))
        try:
            return load_city(shipped_path("cities", f"{name}.toml"))
        except FileNotFoundError:
            shipped = ", ".join(sorted(path.stem for path in shipped_path("cities").glob("*.toml")))
            raise SettingsError(
                f"LAMBDA_CITY: there is no shipped city {name!r} (there is: {shipped}).",
                "Name one of these, or the path of a TOML file.",
            ) from None

    def city_path(self) -> str:
        """LAMBDA_CITY for a process that may run in another folder."""
        return str(Path(self.city_name).resolve()) if self._names_file() else self.city_name

    def _names_file(self) -> bool:
        return self.city_name.endswith(".toml") or "/" in self.city_name or os.sep in self.city_name

    def kafka_security(self) -> dict[str, Any]:
        """TLS and SASL as Kafka's client takes it. Raises SettingsError where these settings do not fit together."""
        if self.kafka_bootstrap_servers is None and self.kafka_security_protocol != "PLAINTEXT":
            raise SettingsError(
                f"LAMBDA_KAFKA_SECURITY_PROTOCOL is {self.kafka_security_protocol}, but the embedded Kafka is plain.",
                "Set KAFKA_BOOTSTRAP_SERVERS to your brokers, or leave it out.",
            )
        return kafka_security(
            self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_username,
            password=self.kafka_password.get_secret_value() if self.kafka_password else None,
            ca_file=self.kafka_ca_file,
            certificate_file=self.kafka_certificate_file,
            key_file=self.kafka_key_file,
        )

    @property
    def alert_category(self) -> str | None:
        """The category from which on air is told of, or None for not at all."""
        return None if self.alert_aqi_category == "none" else self.alert_aqi_category

    @property
    def alert_after(self) -> timedelta:
        """How long a place must be so before it is told of."""
        return timedelta(minutes=self.alert_minutes)

    @property
    def archive_place(self) -> Place | None:
        """Where the archive is, a folder by its absolute path; None where there is no archive."""
        return None if self.archive_url is None else parse_place(self.archive_url)

    @property
    def raw_retention(self) -> timedelta | None:
        """How long raw_data keeps a month that is archived; None: for ever. Raises SettingsError without an archive."""
        if self.raw_retention_days is None:
            return None
        if self.archive_url is None:
            raise SettingsError(
                "LAMBDA_RAW_RETENTION_DAYS is set, but LAMBDA_ARCHIVE_URL is not: nothing would hold what is dropped.",
                "Name a place for the archive, or unset the retention.",
            )
        return timedelta(days=self.raw_retention_days)

    @property
    def archive(self) -> tuple[Place, S3Access] | None:
        """Where the archive is and how to reach it; None where there is none. Raises SettingsError."""
        return None if self.archive_place is None else (self.archive_place, self.archive_access)

    @property
    def archive_access(self) -> S3Access:
        """How to reach the archive's object store. Raises SettingsError."""
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise SettingsError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together.", "Set both, or neither.")
        return S3Access(
            self.aws_endpoint_url, self.aws_region, _shown(self.aws_access_key_id),
            _shown(self.aws_secret_access_key), _shown(self.aws_session_token),
        )  # fmt: skip

    @property
    def poll_interval(self) -> timedelta | None:
        """The set interval, or None where it is to be computed."""
        return None if self.poll_interval_seconds is None else timedelta(seconds=self.poll_interval_seconds)

    @property
    def spool_path(self) -> Path:
        """Where ingest keeps what Kafka has not acknowledged."""
        return self.home / "ingest" / "spool.db"

    def describe(self) -> str:
        """The effective settings on one line, secrets masked: for the log at start."""
        shown = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value is not None:
                shown.append(f"{field.alias}={'***' if isinstance(value, SecretStr) else value}")
        return " ".join(shown)

    def secrets(self) -> list[str]:
        """Every secret, and the passwords of those that are addresses: what no log may show."""
        found = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                text = value.get_secret_value()
                password = password_of(text)
                found += [text, *dict.fromkeys((password, unquote(password)) if password else ())]
        return found


def _shown(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def load_settings(env_file: Path | None = Path(".env"), **overrides: object) -> Settings:
    """Settings from the environment, then `.env`. Raises SettingsError that names the setting and what is wrong."""
    try:
        return Settings(_env_file=env_file, **overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise SettingsError(f"settings: {problems}.", "See .env.example for what each means.") from None
