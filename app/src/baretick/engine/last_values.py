"""Last values to Redis: one hash a symbol, `md:<venue>:<symbol>`, written in batches beside the hot path.

Redis is a convenience for dashboards, not part of trading: when it is down that is counted and tried again, and
since only last values are sent, nothing piles up meanwhile.
"""

import asyncio
import logging
import time
from decimal import Decimal
from typing import Any, Final

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from baretick.config import RedisConfig
from baretick.engine.core import TradingCore
from baretick.engine.state import SymbolState
from baretick.events import PRICE_DECIMALS, QTY_DECIMALS, from_scaled
from baretick.risk import NOTIONAL_DECIMALS

log = logging.getLogger(__name__)

INTERVAL_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
TIMEOUT_S: Final = 1.0


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")


def fields(state: SymbolState) -> dict[str, str]:
    """What a symbol's hash holds: exact decimals, nanoseconds, and the signal in basis points."""
    prices = {"bid": state.bid, "ask": state.ask, "trade_price": state.trade_price}
    qtys = {
        "bid_qty": state.bid_qty,
        "ask_qty": state.ask_qty,
        "trade_qty": state.trade_qty,
        "position": state.position.qty,
    }
    return {
        **{name: _plain(from_scaled(value, PRICE_DECIMALS)) for name, value in prices.items()},
        **{name: _plain(from_scaled(value, QTY_DECIMALS)) for name, value in qtys.items()},
        "pnl": _plain(from_scaled(state.position.pnl(state.mark), NOTIONAL_DECIMALS)),
        "microprice": f"{state.signal.micro / 10**PRICE_DECIMALS:.10g}",
        "signal_bps": f"{state.signal.value_bps:.4f}",
        "trade_ts": str(state.trade_ts),
        "recv_ts": str(state.last_recv_ns),
        "session": state.session,
    }


class LastValues:
    """Writes the symbols that the core marked as changed, ten times a second at most."""

    def __init__(self, cfg: RedisConfig, core: TradingCore) -> None:
        self.url = f"redis://{cfg.host}:{cfg.port}"
        self.state = "idle"
        self.last_error: str | None = None
        self.written = 0
        self.failures = 0
        self._core = core
        self._written_at = 0.0
        self._client: Any = redis.asyncio.Redis(
            host=cfg.host,
            port=cfg.port,
            password=cfg.password.get_secret_value() or None,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # the loop below tries again, with newer values
            decode_responses=True,
        )

    @property
    def age_s(self) -> float | None:
        """Seconds since the last write that Redis took; None before the first."""
        return round(time.monotonic() - self._written_at, 3) if self._written_at else None

    async def run(self) -> None:
        """Write until cancelled."""
        pause = INTERVAL_S
        while True:
            await asyncio.sleep(pause)
            try:
                await self.flush()
                pause = INTERVAL_S
            except (RedisError, OSError, TimeoutError) as e:
                self.failures += 1
                if self.state != "down":
                    log.warning("redis %s: %s; trading goes on, will try again", self.url, e)
                self.state, self.last_error = "down", f"{type(e).__name__}: {e}"
                pause = min(LONGEST_PAUSE_S, pause * 2)

    async def flush(self) -> None:
        """Write every changed symbol in one round trip; on failure they stay marked."""
        changed = list(self._core.dirty)
        if not changed:
            return
        self._core.dirty.clear()
        pipe = self._client.pipeline(transaction=False)
        for venue, symbol in changed:
            pipe.hset(f"md:{venue}:{symbol}", mapping=fields(self._core.symbols[venue, symbol]))
        try:
            await pipe.execute()
        except BaseException:
            self._core.dirty.update(changed)
            raise
        if self.state == "down":
            log.info("redis %s: is back", self.url)
        self.state = "up"
        self.written += len(changed)
        self._written_at = time.monotonic()

    async def close(self) -> None:
        await self._client.aclose()
