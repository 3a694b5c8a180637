"""What the demo did, read back from its warehouse, and the table that says it."""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import Console
from rich.table import Table

from baretick import events
from baretick.demo_count import Counts
from baretick.engine import TradingCore
from baretick.telemetry import HdrHistogram
from baretick.warehouse.client import Database, Row

TABLES = (
    "hft_data.raw_ticks", "hft_data.orders", "hft_data.fills", "hft_data.gaps", "hft_data.symbols",
    "hft_data.dead_letters", "hft_analytics.ohlc_1s", "hft_analytics.ohlc_1m",
)  # fmt: skip

F64 = npt.NDArray[np.float64]


@dataclass
class Market:
    """One symbol: what happened, and the series for its plot (seconds since the session began)."""

    venue: str
    symbol: str
    trades: int
    orders: int
    rejected: int
    fills: int
    position: float
    turnover: float
    pnl: float
    price: tuple[F64, F64] = (np.empty(0), np.empty(0))
    micro: tuple[F64, F64] = (np.empty(0), np.empty(0))
    sent: tuple[F64, F64] = (np.empty(0), np.empty(0))
    buys: tuple[F64, F64] = (np.empty(0), np.empty(0))
    sells: tuple[F64, F64] = (np.empty(0), np.empty(0))
    volume: tuple[F64, F64, F64] = (np.empty(0), np.empty(0), np.empty(0))
    profit: tuple[F64, F64] = (np.empty(0), np.empty(0))


@dataclass
class Report:
    sources: dict[str, str]
    rows: dict[str, int]
    markets: list[Market]
    tick_to_order: HdrHistogram
    tick_to_publish: HdrHistogram
    checks: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def reconciled(self) -> bool:
        return all(ok for _, ok in self.checks)

    @property
    def busiest(self) -> Market:
        """The symbol whose plot says most."""
        return max(self.markets, key=lambda m: (m.fills, m.trades))


def read_back(db: Database, core: TradingCore, sources: dict[str, str], served: dict[str, Counts] | None) -> Report:
    """`served` is the independent count of the sessions; None when there is none, or it was not heard to its end."""
    rows = {}
    for table in TABLES:
        [row] = db.query(f"SELECT count() AS n FROM {table}")  # noqa: S608  names of our own
        rows[table] = int(row["n"])
    markets = [_market(db, core, venue, symbol) for venue, symbol in core.symbols]
    report = Report(sources, rows, markets, core.tick_to_order, core.tick_to_publish)
    _series(db, report.busiest)
    report.checks = list(_checks(db, core, rows, served))
    return report


def _market(db: Database, core: TradingCore, venue: str, symbol: str) -> Market:
    state = core.symbols[venue, symbol]
    position = core.paper.positions[venue, symbol]
    where = "venue = {venue:String} AND symbol = {symbol:String}"
    [row] = db.query(
        f"SELECT (SELECT count() FROM hft_data.raw_ticks WHERE event = 'trade' AND {where}) AS trades, "  # noqa: S608
        f"(SELECT uniqExact(order_id) FROM hft_data.orders WHERE {where}) AS orders, "
        f"(SELECT count() FROM hft_data.orders WHERE status = 'rejected' AND {where}) AS rejected, "
        f"(SELECT count() FROM hft_data.fills WHERE {where}) AS fills",
        {"venue": venue, "symbol": symbol},
    )
    scale = 10.0 ** (events.PRICE_DECIMALS + events.QTY_DECIMALS)
    return Market(
        venue=venue,
        symbol=symbol,
        **row,
        position=position.qty / 10.0**events.QTY_DECIMALS,
        turnover=position.turnover / scale,
        pnl=position.pnl_quote(state.mark),
    )


def _series(db: Database, market: Market) -> None:
    """Fill in what the plot shows."""
    key = {"venue": market.venue, "symbol": market.symbol}
    where = "venue = {venue:String} AND symbol = {symbol:String}"
    [row] = db.query(
        f"SELECT toString(toUnixTimestamp64Nano(min(recv_ts))) AS zero FROM hft_data.raw_ticks WHERE {where}",  # noqa: S608
        key,
    )
    zero = int(row["zero"])

    def seconds(column: str) -> str:
        return f"(toUnixTimestamp64Nano({column}) - {zero}) / 1e9"

    def pairs(sql: str) -> list[Row]:
        return db.query(sql, key)

    trades = pairs(
        f"SELECT {seconds('recv_ts')} AS t, toFloat64(price) AS p FROM hft_data.raw_ticks "  # noqa: S608
        f"WHERE {where} AND event = 'trade' ORDER BY recv_ts, kafka_offset"
    )
    market.price = _columns(trades, "t", "p")
    quotes = pairs(
        "SELECT min(at) AS t, avg(micro) AS p FROM (SELECT "  # noqa: S608
        f"{seconds('any(recv_ts)')} AS at, "
        "maxIf(toFloat64(price), side = 'buy') AS b, maxIf(toFloat64(qty), side = 'buy') AS bq, "
        "maxIf(toFloat64(price), side = 'sell') AS a, maxIf(toFloat64(qty), side = 'sell') AS aq, "
        f"(b * aq + a * bq) / (aq + bq) AS micro FROM hft_data.raw_ticks WHERE {where} AND event = 'ticker' "
        "GROUP BY kafka_offset HAVING aq + bq > 0) GROUP BY intDiv(toInt64(at * 1000), 50) ORDER BY t"
    )
    market.micro = _columns(quotes, "t", "p")
    fills = pairs(
        f"SELECT {seconds('ts')} AS t, toFloat64(price) AS p, toFloat64(qty) AS q, side FROM hft_data.fills "  # noqa: S608
        f"WHERE {where} ORDER BY ts, fill_id"
    )
    market.buys = _columns([r for r in fills if r["side"] == "buy"], "t", "p")
    market.sells = _columns([r for r in fills if r["side"] == "sell"], "t", "p")
    sent = pairs(
        f"SELECT {seconds('min(ts)')} AS t, toFloat64(any(price)) AS p FROM hft_data.orders "  # noqa: S608
        f"WHERE {where} AND status != 'rejected' GROUP BY order_id ORDER BY t"
    )
    market.sent = _columns(sent, "t", "p")
    bars = pairs(
        f"SELECT floor({seconds('recv_ts')} * 2) / 2 AS t, sumIf(toFloat64(qty), side = 'buy') AS b, "  # noqa: S608
        f"sumIf(toFloat64(qty), side = 'sell') AS s FROM hft_data.raw_ticks WHERE {where} AND event = 'trade' "
        "GROUP BY t ORDER BY t"
    )
    market.volume = (*_columns(bars, "t", "b"), _columns(bars, "t", "s")[1])
    market.profit = _profit(fills, market.micro)


def _columns(rows: list[Row], x: str, y: str) -> tuple[F64, F64]:
    return np.array([r[x] for r in rows], np.float64), np.array([r[y] for r in rows], np.float64)


def _profit(fills: list[Row], micro: tuple[F64, F64]) -> tuple[F64, F64]:
    """Profit over time, the position valued at the microprice."""
    times, marks = micro
    if not len(times):
        return np.empty(0), np.empty(0)
    at = np.array([f["t"] for f in fills])
    signed = np.array([f["q"] if f["side"] == "buy" else -f["q"] for f in fills], np.float64)
    prices = np.array([f["p"] for f in fills], np.float64)
    upto = np.searchsorted(at, times, side="right")
    qty = np.concatenate([[0.0], np.cumsum(signed)])[upto]
    cash = np.concatenate([[0.0], np.cumsum(-signed * prices)])[upto]
    return times, cash + qty * marks


_LANDED = """
SELECT venue, symbol, multiIf(event = 'trade', 'trades', event = 'book_update', 'updates', 'snapshots') AS what,
       count() AS n, sum(qty) AS qty FROM hft_data.raw_ticks
WHERE event != 'ticker' AND NOT (event = 'book_snapshot' AND resync) GROUP BY venue, symbol, what
"""


def _checks(
    db: Database, core: TradingCore, rows: dict[str, int], served: dict[str, Counts] | None
) -> list[tuple[str, bool]]:
    """What must agree, in words, and whether it does."""
    found: dict[str, Counts] = {}
    for r in db.query(_LANDED):
        found.setdefault(r["venue"], {})[r["symbol"], r["what"]] = (int(r["n"]), Decimal(r["qty"]))
    checks = []
    if served is not None:
        trades = sum(n for counts in served.values() for (_, what), (n, _) in counts.items() if what == "trades")
        levels = sum(n for counts in served.values() for (_, what), (n, _) in counts.items() if what != "trades")
        checks.append(
            (
                f"session served = warehouse, by symbol: {trades:,} trades, {levels:,} book levels, quantities",
                found == served,
            )
        )
    [row] = db.query("SELECT count() - uniqExact(kafka_topic, kafka_offset, idx) AS twice FROM hft_data.raw_ticks")
    checks.append(("no row twice", row["twice"] == 0))
    checks.append((f"fills traded = fills stored: {core.fills:,}", rows["hft_data.fills"] == core.fills))
    [row] = db.query(
        "SELECT (SELECT count() FROM hft_data.raw_ticks WHERE event = 'trade') = "
        "(SELECT sum(trades) FROM hft_analytics.agg_1s) AS same"
    )
    checks.append(("trades = sum of the one-second aggregates", bool(row["same"])))
    checks.append(("every record could be decoded", rows["hft_data.dead_letters"] == 0))
    return checks


def _table(title: str) -> Table:
    """Without frames and paddings, so that the widest fits 80 columns."""
    return Table(
        title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1)
    )


def show(report: Report, console: Console, picture: Path) -> None:
    """The table that the demo ends with."""
    console.print()
    for venue, source in report.sources.items():
        kind, _, what = source.partition(":")
        name = {"capture": "recorded capture", "synthetic": "SYNTHETIC, made up from seed"}.get(kind, "live venue")
        console.print(f"[bold]{venue}[/]  {name} [cyan]{what}[/]")
    table = _table("trading")
    table.add_column("market", no_wrap=True)
    for name in ("trades", "orders", "refused", "fills", "position", "turnover", "P&L"):
        table.add_column(name, justify="right", no_wrap=True)
    for m in report.markets:
        colour = "green" if m.pnl > 0 else "red" if m.pnl < 0 else "dim"
        table.add_row(
            f"{m.venue} {m.symbol}", f"{m.trades:,}", f"{m.orders:,}", f"{m.rejected:,}", f"{m.fills:,}",
            f"{m.position:+.4g}", f"{m.turnover:,.0f}", f"[{colour}]{m.pnl:+,.2f}[/]",
        )  # fmt: skip
    console.print(table)
    table = _table("warehouse")
    table.add_column("table")
    table.add_column("rows", justify="right")
    for name, n in report.rows.items():
        table.add_row(name, f"{n:,}")
    console.print(table)
    table = _table("latency (microseconds)")
    table.add_column("from the frame's reception to")
    for name in ("count", "p50", "p99", "max"):
        table.add_column(name, justify="right")
    for name, h in (("order sent", report.tick_to_order), ("event published", report.tick_to_publish)):
        if h.count:
            quantiles = (h.percentile(50), h.percentile(99), h.max_ns)
            table.add_row(name, f"{h.count:,}", *(f"{ns / 1000:,.1f}" for ns in quantiles))
    console.print(table)
    for text, ok in report.checks:
        console.print(f"[{'green' if ok else 'bold red'}]{'reconcile ok ' if ok else 'RECONCILE FAILED '}[/] {text}")
    console.print(f"plot [cyan]{picture}[/]")
