"""Typed configuration of every `baretick` process: one YAML file, overridden by BARETICK_* environment variables.

`BARETICK_CLICKHOUSE__PASSWORD=...` sets `clickhouse.password`. Unknown keys are refused with their path.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class ConfigError(Exception):
    """A configuration that cannot be used; the message says what, where, and how to mend it."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VenueConfig(Section):
    """One market-data connection. `kind` chooses the protocol; `name` is what events carry as `venue`."""

    name: str
    kind: Literal["okx", "binance", "binance_usdm"]
    ws_url: str
    rest_url: str
    symbols: list[str] = Field(min_length=1)


class KafkaConfig(Section):
    bootstrap_servers: str = "127.0.0.1:9092"
    group: str = "baretick-ingest"


class ClickHouseConfig(Section):
    url: str = "http://127.0.0.1:8123"
    user: str = "default"
    password: SecretStr = SecretStr("")


class RedisConfig(Section):
    host: str = "127.0.0.1"
    port: int = 6379
    password: SecretStr = SecretStr("")


class HttpConfig(Section):
    host: str = "127.0.0.1"
    port: int = 8080


class StrategyConfig(Section):
    """Microprice against its moving average: cross the spread when they part by more than `threshold_bps`."""

    symbols: list[str] = Field(default_factory=list, description="venue:symbol pairs to trade; empty trades all")
    ema_half_life_s: float = Field(default=1.0, gt=0)
    threshold_bps: float = Field(default=0.5, gt=0)
    order_notional: float = Field(default=1000.0, gt=0)
    cooldown_s: float = Field(default=0.5, ge=0)
    time_in_force: Literal["ioc", "gtc"] = Field(
        default="ioc", description="ioc crosses the spread; gtc joins the near touch and waits"
    )


class RiskConfig(Section):
    max_order_notional: float = Field(default=5_000.0, gt=0)
    max_position_notional: float = Field(default=20_000.0, gt=0)
    max_orders_per_s: float = Field(default=50.0, gt=0)


class StandinConfig(Section):
    """The venue stand-in: `speed` 1 is as recorded, 10 ten times as fast, 0 as fast as clients can read."""

    host: str = "127.0.0.1"
    port: int = 8090
    captures: Path | None = None
    speed: float = Field(default=10.0, ge=0)
    synthetic_seed: int = 42
    synthetic_seconds: float = Field(default=60.0, gt=0)


class WarehouseServerConfig(Section):
    """The embedded ClickHouse engine behind ClickHouse's HTTP interface."""

    host: str = "127.0.0.1"
    port: int = 8123
    path: Path = Path("/var/lib/clickhouse")
    users: dict[str, SecretStr] = Field(
        default_factory=dict, description="name: password; none means nobody may log in"
    )


class IngestConfig(Section):
    """Kafka to ClickHouse: a partition's batch closes at `batch_bytes`, or `linger_s` after its first record."""

    batch_bytes: int = Field(default=4 << 20, ge=1024)
    linger_s: float = Field(default=0.5, gt=0)


class AppConfig(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="BARETICK_", env_nested_delimiter="__", extra="forbid", frozen=True)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    cpu_affinity: list[int] = Field(default_factory=list)
    venues: list[VenueConfig] = Field(default_factory=list)
    kafka: KafkaConfig = KafkaConfig()
    clickhouse: ClickHouseConfig = ClickHouseConfig()
    redis: RedisConfig | None = None
    http: HttpConfig = HttpConfig()
    strategy: StrategyConfig = StrategyConfig()
    risk: RiskConfig = RiskConfig()
    standin: StandinConfig = StandinConfig()
    warehouse_server: WarehouseServerConfig = WarehouseServerConfig()
    ingest: IngestConfig = IngestConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def load(path: Path | None) -> AppConfig:
    """Read and validate the configuration; raise ConfigError with one line for each problem."""
    data: dict[str, Any] = {}
    if path is not None:
        try:
            raw = yaml.safe_load(path.read_text()) or {}
        except OSError as e:
            raise ConfigError(f"cannot read {path}: {e.strerror}") from e
        except yaml.YAMLError as e:
            raise ConfigError(f"{path} is not YAML: {e}") from e
        if not isinstance(raw, dict):
            raise ConfigError(f"{path}: expected a mapping at the top, found {type(raw).__name__}")
        data = raw
    try:
        return AppConfig(**data)
    except ValidationError as e:
        where = str(path) if path else "environment"
        lines = [f"{where}: {'.'.join(str(p) for p in err['loc'])}: {err['msg']}" for err in e.errors()]
        raise ConfigError("\n".join(lines)) from e
