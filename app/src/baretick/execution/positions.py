"""Positions and profit, in exact integers: quantity at the quantity scale, cash at the notional scale (10**18)."""

from baretick.events import BUY, Fill
from baretick.risk import NOTIONAL_SCALE


class Position:
    """What we hold of one symbol at one venue, and what it has cost."""

    __slots__ = ("cash", "fills", "qty", "turnover")

    def __init__(self) -> None:
        self.qty = 0
        self.cash = 0
        self.turnover = 0
        self.fills = 0

    def apply(self, fill: Fill) -> None:
        notional = fill.price * fill.qty
        if fill.side == BUY:
            self.qty += fill.qty
            self.cash -= notional
        else:
            self.qty -= fill.qty
            self.cash += notional
        self.turnover += notional
        self.fills += 1

    def pnl(self, mark: int) -> int:
        """Profit at the notional scale if the position were closed at price `mark`; fees are not charged."""
        return self.cash + self.qty * mark

    def pnl_quote(self, mark: int) -> float:
        """`pnl` in units of the quote currency, for showing."""
        return self.pnl(mark) / NOTIONAL_SCALE
