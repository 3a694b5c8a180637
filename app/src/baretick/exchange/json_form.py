"""The JSON form of commands and events, for clients that want to read what they send.

    {"op":"new","id":7,"symbol":"BTC-USDT","side":"buy","kind":"gtc","price":65000,"qty":5}
    {"op":"cancel","id":7}   {"op":"reduce","id":7,"qty":2}   {"op":"replace","id":7,"price":64990,"qty":5}
    {"op":"mass_cancel","symbol":"BTC-USDT"}   {"op":"kill","state":"halt"}   {"op":"set","param":"collar",...}

One object a frame, or an array of them. Integers are the records' own: whole price units, lots of the smallest unit.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np

from baretick.matching.records import (
    EVENT,
    EventKind,
    Kill,
    Kind,
    Op,
    Param,
    Reason,
    Scope,
    Side,
    Trigger,
    Words,
    commands,
    words,
)

Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Account = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
NO_SYMBOL: Final = 65535
"""For a name that is not in the table: the engine refuses it like any unknown symbol."""


class New(msgspec.Struct, tag_field="op", tag="new", forbid_unknown_fields=True):
    id: Int64
    symbol: str
    side: Literal["buy", "sell"]
    qty: Int64
    price: Int64 = 0
    kind: Literal["gtc", "ioc", "fok", "post_only", "market"] = "gtc"
    trigger: Literal["none", "last", "bid", "ask"] = "none"
    stop_price: Int64 = 0
    display: Int64 = 0
    seq: Number = 0


class Cancel(msgspec.Struct, tag_field="op", tag="cancel", forbid_unknown_fields=True):
    id: Int64
    seq: Number = 0


class Reduce(msgspec.Struct, tag_field="op", tag="reduce", forbid_unknown_fields=True):
    id: Int64
    qty: Int64
    seq: Number = 0


class Replace(msgspec.Struct, tag_field="op", tag="replace", forbid_unknown_fields=True):
    id: Int64
    price: Int64
    qty: Int64
    stop_price: Int64 = 0
    seq: Number = 0


class MassCancel(msgspec.Struct, tag_field="op", tag="mass_cancel", forbid_unknown_fields=True):
    """Without an account: a trader's own; of everyone for risk."""

    account: Account | None = None
    symbol: str | None = None
    seq: Number = 0


class KillSwitch(msgspec.Struct, tag_field="op", tag="kill", forbid_unknown_fields=True):
    state: Literal["off", "no_new_entries", "cancel_only", "halt"]
    account: Account | None = None
    symbol: str | None = None
    seq: Number = 0


class SetParam(msgspec.Struct, tag_field="op", tag="set", forbid_unknown_fields=True):
    param: str
    value: Int64
    account: Account | None = None
    symbol: str | None = None
    seq: Number = 0


_Command = New | Cancel | Reduce | Replace | MassCancel | KillSwitch | SetParam
_one: Final = msgspec.json.Decoder(_Command)
_many: Final = msgspec.json.Decoder(list[_Command])
_encoder: Final = msgspec.json.Encoder()
_OPS: Final[dict[type, Op]] = {
    New: Op.NEW,
    Cancel: Op.CANCEL,
    Reduce: Op.REDUCE,
    Replace: Op.REPLACE,
    MassCancel: Op.MASS_CANCEL,
    KillSwitch: Op.KILL,
    SetParam: Op.SET,
}
_PARAMS: Final = {p.name.lower(): p for p in Param}
_KINDS: Final = {int(k): k.name.lower() for k in EventKind}
_REASONS: Final = {int(r): r.name.lower() for r in Reason}
_OP_NAMES: Final = {int(o): o.name.lower() for o in Op}
_SIDES: Final = ("buy", "sell")


def decode(text: str | bytes, symbols: dict[str, int], own: int | None) -> Words:
    """Command records; `own` is the trader's account. ValueError says what is wrong and where."""
    data = text.encode() if isinstance(text, str) else text
    try:
        asked: list[Any] = _many.decode(data) if data.lstrip()[:1] == b"[" else [_one.decode(data)]
    except msgspec.DecodeError as e:  # ValidationError is one
        raise ValueError(str(e)) from None
    if not asked:
        raise ValueError("an empty array asks for nothing")
    out = commands(len(asked))
    for row, c in zip(out, asked, strict=True):
        row["op"], row["seq"] = _OPS[type(c)], c.seq
        row["account"] = own or 0
        if isinstance(c, New):
            row["order_id"], row["price"], row["qty"] = c.id, c.price, c.qty
            row["side"], row["kind"], row["option"] = (
                _SIDES.index(c.side),
                Kind[c.kind.upper()],
                Trigger[c.trigger.upper()],
            )
            row["stop_price"], row["display"], row["symbol"] = c.stop_price, c.display, symbols.get(c.symbol, NO_SYMBOL)
        elif isinstance(c, Replace):
            row["order_id"], row["price"], row["qty"], row["stop_price"] = c.id, c.price, c.qty, c.stop_price
        elif isinstance(c, Reduce):
            row["order_id"], row["qty"] = c.id, c.qty
        elif isinstance(c, Cancel):
            row["order_id"] = c.id
        else:
            _scope(row, c, symbols, own)
    return words(out)


def _scope(row: Any, c: MassCancel | KillSwitch | SetParam, symbols: dict[str, int], own: int | None) -> None:
    account = own if c.account is None else c.account
    row["option"] = (Scope.ACCOUNT if account is not None else 0) | (Scope.SYMBOL if c.symbol is not None else 0)
    row["account"] = account or 0
    row["symbol"] = 0 if c.symbol is None else symbols.get(c.symbol, NO_SYMBOL)
    if isinstance(c, KillSwitch):
        row["kind"] = Kill[c.state.upper()]
    elif isinstance(c, SetParam):
        if c.param not in _PARAMS:
            raise ValueError(f"Unknown param {c.param!r} - at `$.param`: one of {', '.join(_PARAMS)}")
        row["kind"], row["qty"] = _PARAMS[c.param], c.value


def encode(events: bytes | Words, names: dict[int, str], detail: str | None = None) -> str:
    """Event records as one array; `detail` goes into each, for a refusal that a reason alone does not explain."""
    rows = np.frombuffer(events, EVENT) if isinstance(events, bytes) else events.view(EVENT).reshape(-1)
    return _encoder.encode([_event(tuple(row), names, detail) for row in rows.tolist()]).decode()


def _event(row: tuple[int, ...], names: dict[int, str], detail: str | None) -> dict[str, Any]:
    seq, ts, command, order_id, aux, price, qty, kind, reason, tag, account, counterparty = row
    out: dict[str, Any] = {"event": _KINDS.get(kind, kind), "seq": seq, "ts": ts, "command": command}
    if kind == EventKind.WELCOME:
        return out | {"first_seq": aux, "account": account, "replayed": qty}
    if kind == EventKind.READY:
        return out | {"account": account}
    out |= {"id": order_id, "symbol": names.get(tag >> 1), "side": Side(tag & 1).name.lower(), "account": account}
    out |= {"price": price, "qty": qty}
    if kind == EventKind.TRADE:
        return out | {"maker_id": aux, "counterparty": counterparty}
    if kind == EventKind.REJECTED:
        out |= {"reason": _REASONS[reason], "op": _OP_NAMES.get(aux, aux)}
        return out | {"detail": detail} if detail else out
    if reason:
        out["reason"] = _REASONS[reason]
    return out | {"shows": aux}


__all__ = ["NO_SYMBOL", "decode", "encode"]
