"""Typed configuration of every `baretick` process: one YAML file, overridden by BARETICK_* environment variables.

`BARETICK_CLICKHOUSE__PASSWORD=...` sets `clickhouse.password`. Unknown keys are refused with their path.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from baretick.journal.policy import Fsync


class ConfigError(Exception):
    """A configuration that cannot be used; the message says what, where, and how to mend it."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def refuse_twice(what: str, values: Sequence[object]) -> None:
    """ValueError, naming them, if some of the values are equal."""
    twice = sorted({str(v) for v in values if values.count(v) > 1})
    if twice:
        raise ValueError(f"{what} {', '.join(twice)} is given twice")


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


class LoginConfig(Section):
    """Who may enter orders. The token is named, not written here: a variable of the environment or a file has it."""

    name: str = Field(min_length=1)
    role: Literal["trader", "risk"] = "trader"
    account: int | None = Field(default=None, ge=0, lt=65536, description="a trader's; risk has none")
    token_env: str | None = None
    token_file: Path | None = None
    cancel_on_disconnect: bool = Field(default=False, description="cancel the account's orders when its session ends")

    @model_validator(mode="after")
    def _whole(self) -> "LoginConfig":
        if (self.token_env is None) == (self.token_file is None):
            raise ValueError("give either token_env or token_file")
        if (self.role == "trader") != (self.account is not None):
            raise ValueError("a trader has an account, and risk has none")
        return self


class ExchangeConfig(Section):
    """The matching engine as a service. `http` of the whole configuration is its page, this its order entry."""

    host: str = "127.0.0.1"
    port: int = 8070
    folder: Path = Field(default=Path("/var/lib/baretick/exchange"), description="journal and snapshots")
    limits: Path | None = Field(default=None, description="the symbol table and the risk limits, reloaded when changed")
    logins: list[LoginConfig] = Field(default_factory=list)
    # How much the engine holds.
    symbols: int = Field(default=16, ge=1, le=4096)
    accounts: int = Field(default=256, ge=1, le=65536)
    orders: int = Field(default=1 << 17, ge=1, lt=1 << 29, description="open at once")
    events: int = Field(default=1 << 14, ge=16, description="of one command at most")
    # Durability.
    fsync: str = Field(default="each", description="each, batch:COUNT:MILLISECONDS, off: see docs/journal.md")
    snapshot_every: int = Field(default=1_000_000, ge=0, description="commands; 0: only at the end")
    snapshots_kept: int = Field(default=3, ge=2, description="events since the oldest are known after a restart")
    # Where it runs, and how it waits.
    core_cpu: int | None = Field(default=None, ge=0, description="for the core alone; cpu_affinity is the gateway's")
    numa_node: int | None = Field(default=None, ge=0)
    hugepages: bool = False
    wait: Literal["spin", "backoff"] = Field(default="backoff", description="spin never sleeps: for a CPU of its own")
    spin_us: float = Field(default=20.0, ge=0, description="backoff: how long the core looks before it sleeps")
    reply_spin_us: float = Field(default=0.0, ge=0, description="how long the gateway looks for a frame's events")
    inbox_slots: int = Field(default=4096, description="commands between gateway and core, a power of two")
    outbox_slots: int = Field(default=16384, description="events between core and gateway, a power of two")
    # Sessions.
    history_events: int = Field(default=1 << 18, ge=1, description="kept for sessions that come back")
    session_buffer_bytes: int = Field(default=1 << 20, ge=1 << 19, description="a slower session is closed")
    max_frame_bytes: int = Field(default=1 << 16, ge=64)
    busy_wait_s: float = Field(default=1.0, ge=0, description="how long a frame waits for room before it is refused")
    heartbeat_s: float = Field(default=15.0, gt=0, description="ping; no pong for half of it ends the session")
    reload_poll_s: float = Field(default=1.0, ge=0, description="look for a changed limits file; 0: only on SIGHUP")

    @field_validator("inbox_slots", "outbox_slots")
    @classmethod
    def _power_of_two(cls, n: int) -> int:
        if n < 16 or n & (n - 1):
            raise ValueError("must be a power of two, 16 or more")
        return n

    @field_validator("fsync")
    @classmethod
    def _policy(cls, text: str) -> str:
        Fsync.parse(text)
        return text

    @field_validator("logins")
    @classmethod
    def _distinct(cls, logins: list[LoginConfig]) -> list[LoginConfig]:
        refuse_twice("name", [x.name for x in logins])
        refuse_twice("account", [x.account for x in logins if x.account is not None])
        return logins

    @model_validator(mode="after")
    def _fits(self) -> "ExchangeConfig":
        if self.max_frame_bytes // 64 > self.inbox_slots:
            raise ValueError(
                f"a frame of max_frame_bytes {self.max_frame_bytes} holds {self.max_frame_bytes // 64} commands, "
                f"the ring {self.inbox_slots}: it would never fit: make inbox_slots larger"
            )
        for x in self.logins:
            if x.account is not None and x.account >= self.accounts:
                raise ValueError(f"login {x.name}: account {x.account}: there are {self.accounts} (accounts)")
        return self


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
    exchange: ExchangeConfig = ExchangeConfig()

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


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError if there is none."""
    try:
        raw = yaml.safe_load(path.read_text()) or {}
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is not YAML: {e}") from e
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping at the top, found {type(raw).__name__}")
    return raw


def invalid(where: str, e: ValidationError) -> ConfigError:
    """One line for each problem."""
    return ConfigError("\n".join(f"{where}: {'.'.join(str(p) for p in x['loc'])}: {x['msg']}" for x in e.errors()))


def load(path: Path | None) -> AppConfig:
    """Read and validate the configuration; raise ConfigError with one line for each problem."""
    data = read_yaml(path) if path is not None else {}
    try:
        return AppConfig(**data)
    except ValidationError as e:
        raise invalid(str(path) if path else "environment", e) from e
