"""Reference data: both venues' instrument lists become one table, and only what changed is written."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from baretick.config import VenueConfig
from baretick.warehouse.client import Row
from baretick.warehouse.seed import Symbol, VenueError, symbols_of, write

OKX = VenueConfig(name="okx", kind="okx", ws_url="ws://x", rest_url="http://x/okx", symbols=["BTC-USDT"])
BINANCE = VenueConfig(name="bn", kind="binance", ws_url="ws://x", rest_url="http://x/bn", symbols=["BTCUSDT"])
USDM = VenueConfig(name="um", kind="binance_usdm", ws_url="ws://x", rest_url="http://x/um", symbols=["BTCUSDT"])


def okx_row(**changes: str) -> dict[str, str]:
    row = {
        "instId": "BTC-USDT", "instType": "SPOT", "baseCcy": "BTC", "quoteCcy": "USDT", "uly": "", "tickSz": "0.10",
        "lotSz": "0.00000001", "minSz": "0.00001", "state": "live",
    }  # fmt: skip
    return {**row, **changes}


def binance_row(**changes: object) -> dict[str, object]:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
        {"filterType": "LOT_SIZE", "stepSize": "0.00001000", "minQty": "0.00001000"},
    ]
    row = {"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "status": "TRADING", "filters": filters}
    return {**row, **changes}


def test_okx_instruments_of_every_kind_are_asked_for() -> None:
    asked: list[str] = []

    def get(url: str) -> Any:
        asked.append(url)
        swap = okx_row(instId="BTC-USDT-SWAP", instType="SWAP", baseCcy="", quoteCcy="", uly="BTC-USDT")
        return {"code": "0", "data": [swap if url.endswith("SWAP") else okx_row()] if "FUTURES" not in url else []}

    found = symbols_of(OKX, get)
    assert [u.partition("instType=")[2] for u in asked] == ["SPOT", "SWAP", "FUTURES"]
    assert all(u.startswith("http://x/okx/api/v5/public/instruments?") for u in asked)
    spot, swap = found
    assert spot == Symbol("okx", "BTC-USDT", "spot", "BTC", "USDT", "0.1", "0.00000001", "0.00001", "live")
    assert (swap.kind, swap.base, swap.quote) == ("swap", "BTC", "USDT")


@pytest.mark.parametrize(
    ("venue", "path", "kind"),
    [(BINANCE, "/bn/api/v3/exchangeInfo", "spot"), (USDM, "/um/fapi/v1/exchangeInfo", "perpetual")],
)
def test_binance_instruments(venue: VenueConfig, path: str, kind: str) -> None:
    asked: list[str] = []

    def get(url: str) -> Any:
        asked.append(url)
        return {"symbols": [binance_row(**({} if kind == "spot" else {"contractType": "PERPETUAL"}))]}

    [found] = symbols_of(venue, get)
    assert asked == ["http://x" + path]
    assert found == Symbol(venue.name, "BTCUSDT", kind, "BTC", "USDT", "0.01", "0.00001", "0.00001", "trading")


@pytest.mark.parametrize("answer", [{}, {"symbols": [{}]}, {"symbols": [binance_row(filters=[])]}, [], None])
def test_an_answer_in_another_form_is_an_error_with_the_address(answer: object) -> None:
    with pytest.raises(VenueError, match="http://x/bn"):
        symbols_of(BINANCE, lambda url: answer)


def test_a_refusal_of_okx_is_told() -> None:
    with pytest.raises(VenueError, match="Instrument type error"):
        symbols_of(OKX, lambda url: {"code": "51000", "msg": "Instrument type error", "data": []})


class Table:
    """hft_data.symbols, as far as seeding needs it."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        # ClickHouse writes decimals with the column's scale
        wide = ("tick_size", "lot_size", "min_qty")
        return [{k: f"{v}000" if k in wide and "." in v else v for k, v in r.items()} for r in self.rows.values()]

    def command(self, sql: str, settings: Mapping[str, str] | None = None) -> None:
        raise AssertionError("nothing is to be run")

    def insert(self, head: str, fmt: str, data: bytes, settings: Mapping[str, str] | None = None) -> None:
        assert data, "an empty insert"
        for text in data.splitlines():
            row = json.loads(text)
            self.rows[row["venue"], row["symbol"]] = row


def test_a_second_seed_changes_nothing_and_a_change_is_one() -> None:
    table = Table()
    symbols = symbols_of(BINANCE, lambda url: {"symbols": [binance_row(), binance_row(symbol="ETHUSDT")]})
    assert write(table, symbols) == 2
    assert write(table, symbols) == 0
    halted = symbols_of(BINANCE, lambda url: {"symbols": [binance_row(status="HALT"), binance_row(symbol="ETHUSDT")]})
    assert write(table, halted) == 1
    assert table.rows["bn", "BTCUSDT"]["status"] == "halt"
