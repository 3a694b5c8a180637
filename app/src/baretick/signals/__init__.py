"""The signal: microprice against its own time-decayed moving average, in basis points.

Pure arithmetic on what it is given: no clock, no I/O. Floats are right here: a signal is an opinion, not money.
"""

from math import exp, log
from typing import Final

BPS: Final = 1e4
_LN2: Final = log(2.0)


def microprice(bid: int, bid_qty: int, ask: int, ask_qty: int) -> float:
    """The touch weighted by the other side's size: leans to where the next trade will likely be.

    Always between bid and ask. Sides without quantity count as equal.
    """
    total = bid_qty + ask_qty
    if total <= 0:
        return (bid + ask) / 2
    return bid + (ask - bid) * (bid_qty / total)


class DecayedMean:
    """An exponential moving average whose memory is time, not count: after a half-life half of it is new."""

    __slots__ = ("_half_life_ns", "_last_ns", "_since_ns", "value")

    def __init__(self, half_life_s: float) -> None:
        if half_life_s <= 0:
            raise ValueError(f"half_life_s={half_life_s}: must be above zero")
        self._half_life_ns = half_life_s * 1e9
        self._last_ns = 0
        self._since_ns = -1
        self.value = 0.0

    def reset(self) -> None:
        self._since_ns = -1

    def update(self, value: float, now_ns: int) -> float:
        """Take a new observation. An instant that lies before the last one counts as the same instant."""
        if self._since_ns < 0:
            self._since_ns = self._last_ns = now_ns
            self.value = value
            return value
        elapsed = now_ns - self._last_ns
        if elapsed > 0:
            self.value += (value - self.value) * (1.0 - exp(-_LN2 * elapsed / self._half_life_ns))
            self._last_ns = now_ns
        return self.value

    @property
    def warm(self) -> bool:
        """True once it has listened for a half-life."""
        return self._since_ns >= 0 and self._last_ns - self._since_ns >= self._half_life_ns


class MicropriceSignal:
    """How far the microprice has parted from its average; zero until the average is warm."""

    __slots__ = ("mean", "micro", "threshold_bps", "value_bps")

    def __init__(self, half_life_s: float, threshold_bps: float) -> None:
        self.mean = DecayedMean(half_life_s)
        self.threshold_bps = threshold_bps
        self.micro = 0.0
        self.value_bps = 0.0

    def reset(self) -> None:
        """Forget: after a hole in the stream the old average says nothing."""
        self.mean.reset()
        self.value_bps = 0.0

    def update(self, bid: int, bid_qty: int, ask: int, ask_qty: int, now_ns: int) -> int:
        """Take the touch; returns +1 (up: buy), -1 (down: sell) or 0. Scale of the prices does not matter."""
        micro = self.micro = microprice(bid, bid_qty, ask, ask_qty)
        mean = self.mean.update(micro, now_ns)
        if not self.mean.warm or mean <= 0:
            self.value_bps = 0.0
            return 0
        value = self.value_bps = (micro - mean) / mean * BPS
        if value > self.threshold_bps:
            return 1
        if value < -self.threshold_bps:
            return -1
        return 0
