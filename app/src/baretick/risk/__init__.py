"""The pre-trade limit: every order passes `RiskGate.check` before it reaches a venue, or is refused with a reason.

All money is integer: notionals carry the price scale times the quantity scale (10**18), so no rounding decides.
"""

from typing import Final

from baretick.config import RiskConfig
from baretick.events import BUY, PRICE_DECIMALS, QTY_DECIMALS

NOTIONAL_DECIMALS: Final = PRICE_DECIMALS + QTY_DECIMALS
NOTIONAL_SCALE: Final[int] = 10**NOTIONAL_DECIMALS

KILLED: Final = "kill_switch"
BAD_ORDER: Final = "bad_order"
ORDER_NOTIONAL: Final = "order_notional"
POSITION_NOTIONAL: Final = "position_notional"
ORDER_RATE: Final = "order_rate"
REASONS: Final = (KILLED, BAD_ORDER, ORDER_NOTIONAL, POSITION_NOTIONAL, ORDER_RATE)


class TokenBucket:
    """At most `rate` orders a second on average and `burst` at once.

    Kept as the one instant at which the bucket would be full again (GCRA): no float drifts, no timer runs.
    """

    __slots__ = ("_full_at", "_interval", "_tolerance")

    def __init__(self, rate: float, burst: int | None = None) -> None:
        if rate <= 0:
            raise ValueError(f"rate={rate}: an order rate must be above zero")
        self._interval = round(1e9 / rate)
        self._tolerance = self._interval * max(1, round(rate) if burst is None else burst)
        self._full_at = 0

    def take(self, now_ns: int) -> bool:
        """Take a token; False if there is none. A clock that steps back gives no tokens and breaks nothing."""
        full_at = max(self._full_at, now_ns) + self._interval
        if full_at - now_ns > self._tolerance:
            return False
        self._full_at = full_at
        return True


class RiskGate:
    """Limits on one order, on the position it could lead to, and on the order rate; and the kill switch."""

    __slots__ = ("_bucket", "_max_order", "_max_position", "killed_by")

    def __init__(self, cfg: RiskConfig) -> None:
        self._max_order = round(cfg.max_order_notional * NOTIONAL_SCALE)
        self._max_position = round(cfg.max_position_notional * NOTIONAL_SCALE)
        self._bucket = TokenBucket(cfg.max_orders_per_s)
        self.killed_by: str | None = None

    def kill(self, cause: str) -> None:
        """Refuse every order from here on; the first cause is kept."""
        if self.killed_by is None:
            self.killed_by = cause

    def release(self) -> None:
        """Trade again."""
        self.killed_by = None

    def check(self, side: int, price: int, qty: int, position: int, working: int, now_ns: int) -> str | None:
        """None if the order may go, else the reason.

        `position` is signed; `working` is what already rests on the same side and may still fill. An order that
        can only bring the position nearer to zero is not held back by the position limit, so that one can
        always get out. A refused order takes no token.
        """
        if self.killed_by is not None:
            return KILLED
        if price <= 0 or qty <= 0:
            return BAD_ORDER
        if price * qty > self._max_order:
            return ORDER_NOTIONAL
        worst = position + working + qty if side == BUY else position - working - qty
        if abs(worst) * price > self._max_position and abs(worst) > abs(position):
            return POSITION_NOTIONAL
        if not self._bucket.take(now_ns):
            return ORDER_RATE
        return None
