"""Typed configuration of every `baretick` process: one YAML file, overridden by BARETICK_* environment variables.

`BARETICK_CLICKHOUSE__PASSWORD=...` sets `clickhouse.password`. Unknown keys are refused with their path.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class ConfigError(Exception):
    """A configuration that cannot be used; the message says what, where, and how to mend it."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


PRODUCTION = {
    "okx": ("wss://ws.okx.com:8443/ws/v5/public", "https://www.okx.com"),
    "binance": ("wss://stream.binance.com:9443/stream", "https://api.binance.com"),
    # /public carries depth, bookTicker and trade; the address without it has been silent since April 2026.
    "binance_usdm": ("wss://fstream.binance.com/public/stream", "https://fapi.binance.com"),
}
"""Where the venues themselves are, by kind: websocket, REST. Public data needs no account."""


class VenueConfig(Section):
    """One market-data connection. `kind` chooses the protocol; `name` is what events carry as `venue`."""

    name: str
    kind: Literal["okx", "binance", "binance_usdm"]
    ws_url: str = Field(default="", description="empty: the venue's own, see PRODUCTION")
    rest_url: str = Field(default="", description="empty: the venue's own, see PRODUCTION")
    symbols: list[str] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _as_the_venue_writes(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("kind") not in PRODUCTION:
            return data
        ws_url, rest_url = PRODUCTION[data["kind"]]
        out = {**data, "ws_url": data.get("ws_url") or ws_url, "rest_url": data.get("rest_url") or rest_url}
        if isinstance(out["rest_url"], str):
            out["rest_url"] = out["rest_url"].rstrip("/")
        if isinstance(out.get("symbols"), list):
            out["symbols"] = [s.upper() if isinstance(s, str) else s for s in out["symbols"]]
        return out


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
    """The venue stand-in: `speed` 1 is as recorded, 10 ten times as fast, 0 as fast as clients can read.

    `captures` is a folder of recordings; without it, BARETICK_CAPTURES; without that, a synthetic session.
    """

    host: str = "127.0.0.1"
    port: int = 8090
    captures: Path | None = None
    speed: float = Field(default=10.0, ge=0)
    synthetic_seed: int = 42
    synthetic_seconds: float = Field(default=60.0, gt=0)
    settle_s: float = Field(default=1.0, ge=0, description="from a venue's first subscription to its first frame")


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
