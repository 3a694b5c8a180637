"""The limits file: symbol table and risk limits, typed, and as the SET commands that bring an engine there.

    symbols:
      - {id: 0, name: BTC-USDT, tick: 10, lot: 1, band_low: 100000, band_high: 9000000, collar: 50000}
    accounts:
      - {id: 1, max_order_qty: 500, max_open_orders: 1000, rate_per_s: 200, burst: 50, positions: {BTC-USDT: 10000}}

What the file does not name is closed; what it leaves out has no limit. Limits change by commands, so the journal has
them, and a replay changes them at the same place.
"""

import time
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field, ValidationError, field_validator, model_validator

from baretick.config import ConfigError, Section, invalid, read_yaml, refuse_twice
from baretick.matching.admin import MAX_INTERVAL
from baretick.matching.layout import (
    CLOSED,
    H_ACCOUNTS,
    H_O_ACCOUNTS,
    H_O_POSITIONS,
    H_O_SYMBOLS,
    H_SYMBOLS,
    S_BAND_HIGH,
    S_BAND_LOW,
    S_COLLAR,
    S_LIVE,
    S_LOT,
    S_MAX_NOTIONAL,
    S_MAX_POSITION,
    S_MAX_QTY,
    S_STATE,
    S_TICK,
    SYMBOL_SHIFT,
)
from baretick.matching.records import MAX_PRICE, MAX_QTY, Op, Param, Scope, Stp, Words, commands, words
from baretick.risk.limits import (
    A_INTERVAL,
    A_MAX_NOTIONAL,
    A_MAX_POSITION,
    A_MAX_QTY,
    A_OPEN,
    A_STATE,
    A_TOLERANCE,
    ACCOUNT_BYTES,
    P_LIMIT,
    POSITION_BYTES,
    UNLIMITED,
)

Quantity = Field(default=MAX_QTY, ge=0, le=MAX_QTY)
Money = Field(default=UNLIMITED, ge=0, le=UNLIMITED)


class SymbolLimits(Section):
    """One symbol. `id` is what records carry; it stays the symbol's for as long as the journal lives."""

    id: int = Field(ge=0)
    name: str = Field(min_length=1, max_length=32)
    open: bool = True
    tick: int = Field(default=1, ge=1, le=MAX_PRICE)
    lot: int = Field(default=1, ge=1, le=MAX_QTY)
    band_low: int = Field(default=0, ge=-MAX_PRICE, le=MAX_PRICE)
    band_high: int = Field(default=MAX_PRICE, ge=-MAX_PRICE, le=MAX_PRICE)
    collar: int = Field(default=0, ge=0, le=MAX_PRICE)
    max_order_qty: int = Quantity
    max_notional: int = Money
    max_position: int = Quantity

    @model_validator(mode="after")
    def _band(self) -> "SymbolLimits":
        if self.band_low > self.band_high:
            raise ValueError(f"band_low {self.band_low} is above band_high {self.band_high}")
        return self


class AccountLimits(Section):
    """One account."""

    id: int = Field(ge=0)
    open: bool = True
    stp: Literal["none", "expire_maker", "expire_taker", "expire_both", "decrement"] = "expire_maker"
    max_order_qty: int = Quantity
    max_notional: int = Money
    max_position: int = Quantity
    max_open_orders: int = Field(default=(1 << 31) - 1, ge=0, lt=1 << 31)
    rate_per_s: float = Field(default=0, ge=0, le=1e9, description="orders a second; 0 is no limit")
    burst: int = Field(default=1, ge=1, le=1 << 20)
    positions: dict[str, int] = Field(default_factory=dict, description="largest position by symbol name")

    @field_validator("rate_per_s")
    @classmethod
    def _rate(cls, rate: float) -> float:
        if rate and round(1e9 / rate) > MAX_INTERVAL:
            raise ValueError(f"{rate} is too slow: at least one order an hour, or 0 for no limit")
        return rate

    @field_validator("positions")
    @classmethod
    def _sizes(cls, positions: dict[str, int]) -> dict[str, int]:
        for name, size in positions.items():
            if not 0 <= size <= MAX_QTY:
                raise ValueError(f"{name}: {size} is no position limit: it must lie in 0 .. {MAX_QTY}")
        return positions

    @property
    def interval(self) -> int:
        """Nanoseconds that an order earns its token in."""
        return round(1e9 / self.rate_per_s) if self.rate_per_s else 0


class Limits(Section):
    """A whole limits file."""

    symbols: list[SymbolLimits] = Field(min_length=1)
    accounts: list[AccountLimits] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> "Limits":
        names = [s.name for s in self.symbols]
        refuse_twice("symbol id", [s.id for s in self.symbols])
        refuse_twice("symbol name", names)
        refuse_twice("account id", [a.id for a in self.accounts])
        for a in self.accounts:
            unknown = sorted(set(a.positions) - set(names))
            if unknown:
                raise ValueError(f"account {a.id}: positions: there is no symbol {', '.join(unknown)}")
        return self

    @property
    def names(self) -> dict[str, int]:
        return {s.name: s.id for s in self.symbols}


def read(path: Path) -> Limits:
    """A limits file; ConfigError with one line for each problem."""
    try:
        return Limits(**read_yaml(path))
    except ValidationError as e:
        raise invalid(str(path), e) from e


_SYMBOL_PARAMS: Final = (
    (Param.TICK, S_TICK, "tick"),
    (Param.LOT, S_LOT, "lot"),
    (Param.BAND_LOW, S_BAND_LOW, "band_low"),
    (Param.BAND_HIGH, S_BAND_HIGH, "band_high"),
    (Param.COLLAR, S_COLLAR, "collar"),
    (Param.MAX_ORDER_QTY, S_MAX_QTY, "max_order_qty"),
    (Param.MAX_NOTIONAL, S_MAX_NOTIONAL, "max_notional"),
    (Param.MAX_POSITION, S_MAX_POSITION, "max_position"),
)
_ACCOUNT_PARAMS: Final = (
    (Param.MAX_ORDER_QTY, A_MAX_QTY, "max_order_qty"),
    (Param.MAX_NOTIONAL, A_MAX_NOTIONAL, "max_notional"),
    (Param.MAX_POSITION, A_MAX_POSITION, "max_position"),
)
Set = tuple[Param, Scope, int, int, int]
"""param, scope, symbol, account, value"""


def changes(arena: Words, wanted: Limits, before: Limits | None = None) -> Words:
    """The commands, numbered by no one yet, that bring a quiescent engine to the limits wanted; none if it is there.

    ConfigError, when one of them could not be carried out: then none must be.
    """
    problems = list(_impossible(arena, wanted, before))
    if problems:
        raise ConfigError("\n".join(problems))
    sets = [*_symbols(arena, wanted), *_accounts(arena, wanted), *_positions(arena, wanted)]
    rows = commands(len(sets))
    rows["op"], rows["ts"] = Op.SET, time.time_ns()
    if sets:
        rows["kind"], rows["option"], rows["symbol"], rows["account"], rows["qty"] = zip(*sets, strict=True)
    return words(rows)


def _table(arena: Words, start: int, rows: int, row_bytes: int) -> Words:
    at = int(arena[start // 8]) // 8
    return arena[at : at + rows * row_bytes // 8].reshape(rows, -1)


def _symbol_rows(arena: Words) -> Words:
    return _table(arena, H_O_SYMBOLS, int(arena[H_SYMBOLS // 8]), 1 << SYMBOL_SHIFT)


def _account_rows(arena: Words) -> Words:
    return _table(arena, H_O_ACCOUNTS, int(arena[H_ACCOUNTS // 8]), ACCOUNT_BYTES)


def _impossible(arena: Words, wanted: Limits, before: Limits | None) -> Any:
    symbols, accounts = _symbol_rows(arena), len(_account_rows(arena))
    known = {s.id: s.name for s in before.symbols} if before else {}
    for s in wanted.symbols:
        if s.id >= len(symbols):
            yield f"symbol {s.name}: id {s.id}: the engine holds {len(symbols)} (exchange.symbols)"
            continue
        if known.get(s.id, s.name) != s.name:
            yield f"symbol {s.name}: id {s.id} is {known[s.id]}: take an id that no other symbol has had"
        tick, live = int(symbols[s.id, S_TICK // 8]), int(symbols[s.id, S_LIVE // 8])
        if live and s.tick != tick:
            yield f"symbol {s.name}: tick cannot go from {tick} to {s.tick} under {live} open orders: cancel them first"
    for a in wanted.accounts:
        if a.id >= accounts:
            yield f"account {a.id}: the engine holds {accounts} (exchange.accounts)"


def _symbols(arena: Words, wanted: Limits) -> Any:
    rows, named = _symbol_rows(arena), {s.id for s in wanted.symbols}
    closed = (rows[:, S_STATE // 8] & CLOSED) != 0
    for i in np.flatnonzero(~closed).tolist():
        if i not in named:
            yield Param.OPEN, Scope.SYMBOL, i, 0, 0
    for s in wanted.symbols:
        for param, field, name in _SYMBOL_PARAMS:
            if int(rows[s.id, field // 8]) != getattr(s, name):
                yield param, Scope.SYMBOL, s.id, 0, getattr(s, name)
        if bool(closed[s.id]) == s.open:
            yield Param.OPEN, Scope.SYMBOL, s.id, 0, int(s.open)


def _accounts(arena: Words, wanted: Limits) -> Any:
    rows, named = _account_rows(arena), {a.id for a in wanted.accounts}
    closed = (rows[:, A_STATE // 8] & CLOSED) != 0
    for i in np.flatnonzero(~closed).tolist():
        if i not in named:
            yield Param.OPEN, Scope.ACCOUNT, 0, i, 0
    for a in wanted.accounts:
        row = rows[a.id]
        for param, field, name in _ACCOUNT_PARAMS:
            if int(row[field // 8]) != getattr(a, name):
                yield param, Scope.ACCOUNT, 0, a.id, getattr(a, name)
        stp = Stp[a.stp.upper()]
        if int(row[A_STATE // 8]) >> 32 != stp:
            yield Param.STP, Scope.ACCOUNT, 0, a.id, stp
        if int(row[A_OPEN // 8]) >> 32 != a.max_open_orders:
            yield Param.MAX_OPEN_ORDERS, Scope.ACCOUNT, 0, a.id, a.max_open_orders
        interval = int(row[A_INTERVAL // 8])
        if interval != a.interval or (interval and int(row[A_TOLERANCE // 8]) != a.burst * interval):
            yield Param.RATE_INTERVAL, Scope.ACCOUNT, 0, a.id, a.interval
            yield Param.RATE_BURST, Scope.ACCOUNT, 0, a.id, a.burst
        if bool(closed[a.id]) == a.open:
            yield Param.OPEN, Scope.ACCOUNT, 0, a.id, int(a.open)


def _positions(arena: Words, wanted: Limits) -> Any:
    symbols, accounts = int(arena[H_SYMBOLS // 8]), int(arena[H_ACCOUNTS // 8])
    now = _table(arena, H_O_POSITIONS, accounts * symbols, POSITION_BYTES)[:, P_LIMIT // 8].reshape(accounts, symbols)
    then, ids = np.full_like(now, MAX_QTY), wanted.names
    for a in wanted.accounts:
        for name, size in a.positions.items():
            then[a.id, ids[name]] = size
    for account, symbol in np.argwhere(now != then).tolist():
        yield Param.MAX_POSITION, Scope.ACCOUNT_SYMBOL, symbol, account, int(then[account, symbol])


__all__ = ["AccountLimits", "Limits", "SymbolLimits", "changes", "read"]
