"""`baretick seed`: hft_data.symbols from the venues' own instrument lists. Only what changed is written."""

import json
import logging
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from baretick.config import AppConfig, VenueConfig
from baretick.warehouse.client import Database, WarehouseError, WarehouseUnavailable
from baretick.warehouse.migrate import connect

log = logging.getLogger(__name__)

_OKX_KINDS = ("SPOT", "SWAP", "FUTURES")
_TRIES = 3
_TIMEOUT = 20.0


class VenueError(Exception):
    """An instrument list that can't be had or understood; the message names the address."""


@dataclass(frozen=True)
class Symbol:
    """An instrument as hft_data.symbols holds it; numbers are decimal text without trailing zeros."""

    venue: str
    symbol: str
    kind: str
    base: str
    quote: str
    tick_size: str
    lot_size: str
    min_qty: str
    status: str


Fetch = Callable[[str], Any]


def fetch(url: str) -> Any:
    """The JSON document behind `url`, with a few tries."""
    for attempt in range(1, _TRIES + 1):
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:  # noqa: S310  the venue's http(s) address
                return json.load(response)
        except urllib.error.HTTPError as e:
            raise VenueError(f"{url}: HTTP {e.code} {e.reason}") from e
        except (OSError, json.JSONDecodeError) as e:
            if attempt == _TRIES:
                raise VenueError(f"{url}: {e}") from e
            time.sleep(attempt)
    raise AssertionError("unreachable")


def symbols_of(venue: VenueConfig, get: Fetch = fetch) -> list[Symbol]:
    """All instruments that a venue lists."""
    try:
        if venue.kind == "okx":
            return [
                symbol
                for kind in _OKX_KINDS
                for symbol in _okx(venue.name, get(f"{venue.rest_url}/api/v5/public/instruments?instType={kind}"))
            ]
        path = "/api/v3/exchangeInfo" if venue.kind == "binance" else "/fapi/v1/exchangeInfo"
        return list(_binance(venue.name, get(f"{venue.rest_url}{path}")))
    except (KeyError, TypeError, ArithmeticError, StopIteration) as e:
        raise VenueError(f"{venue.rest_url}: the instrument list is not in the form expected: {e!r}") from e


def _okx(venue: str, answer: Any) -> Iterator[Symbol]:
    if answer["code"] != "0":
        raise VenueError(f"{venue}: {answer.get('msg') or answer['code']}")
    for i in answer["data"]:
        base, quote = i["baseCcy"], i["quoteCcy"]
        if i["instType"] != "SPOT":
            base, _, quote = i["uly"].partition("-")
        yield Symbol(
            venue=venue,
            symbol=i["instId"],
            kind=i["instType"].lower(),
            base=base,
            quote=quote,
            tick_size=_number(i["tickSz"]),
            lot_size=_number(i["lotSz"]),
            min_qty=_number(i["minSz"]),
            status=i["state"],
        )


def _binance(venue: str, answer: Any) -> Iterator[Symbol]:
    for i in answer["symbols"]:
        filters = {f["filterType"]: f for f in i["filters"]}
        lot = filters["LOT_SIZE"]
        yield Symbol(
            venue=venue,
            symbol=i["symbol"],
            kind=i.get("contractType", "spot").lower(),
            base=i["baseAsset"],
            quote=i["quoteAsset"],
            tick_size=_number(filters["PRICE_FILTER"]["tickSize"]),
            lot_size=_number(lot["stepSize"]),
            min_qty=_number(lot["minQty"]),
            status=i["status"].lower(),
        )


def _number(text: str) -> str:
    """Decimal text in one form, so that 0.10 and 0.1 do not count as a change; empty means 0."""
    return format(Decimal(text or "0").normalize(), "f")


def write(db: Database, symbols: Iterable[Symbol]) -> int:
    """Insert the symbols that are new or different; the number of them."""
    known = {(s.venue, s.symbol): s for s in stored(db)}
    changed = [s for s in symbols if known.get((s.venue, s.symbol)) != s]
    if changed:
        columns = ", ".join(asdict(changed[0]))
        data = "\n".join(json.dumps(asdict(s)) for s in changed).encode()
        db.insert(f"INSERT INTO hft_data.symbols ({columns})", "JSONEachRow", data)
    return len(changed)


def stored(db: Database) -> list[Symbol]:
    rows = db.query(
        "SELECT venue, symbol, kind, base, quote, tick_size, lot_size, min_qty, status FROM hft_data.symbols FINAL"
    )
    decimals = ("tick_size", "lot_size", "min_qty")
    return [Symbol(**{k: _number(v) if k in decimals else v for k, v in row.items()}) for row in rows]


def main(cfg: AppConfig) -> int:
    logging.basicConfig(level=cfg.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not cfg.venues:
        print("seed: no venues configured, nothing to ask", file=sys.stderr)
        return 2
    failed = False
    try:
        db = connect(cfg)
        for venue in cfg.venues:
            try:
                symbols = symbols_of(venue)
            except VenueError as e:
                print(f"seed: {venue.name}: {e}", file=sys.stderr)
                failed = True
                continue
            missing = sorted(set(venue.symbols) - {s.symbol for s in symbols})
            if missing:
                print(f"seed: {venue.name}: {', '.join(missing)} not listed by the venue", file=sys.stderr)
            print(f"{venue.name}: {len(symbols)} symbols, {write(db, symbols)} changed")
    except (WarehouseError, WarehouseUnavailable) as e:
        print(f"seed: {e}", file=sys.stderr)
        return 1
    return 1 if failed else 0
