"""The demo's picture: price, microprice and our fills; flow, profit and latency beneath."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from baretick.demo_report import Market, Report
from baretick.telemetry import HdrHistogram

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, MaxNLocator

INK, MUTED, GRID, GROUND, PANEL = "#e6edf3", "#8b98a9", "#263140", "#0d1420", "#121b29"
PRICE, MICRO, BUY, SELL, GOLD, VIOLET = "#7d8ba1", "#4cc9f0", "#2ee6a6", "#ff5d73", "#ffc857", "#b392f0"

STYLE: Any = {
    "figure.facecolor": GROUND, "axes.facecolor": PANEL, "axes.edgecolor": GRID, "axes.labelcolor": MUTED,
    "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True, "text.color": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "font.family": "DejaVu Sans", "font.size": 9.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 11, "axes.titlelocation": "left",
    "axes.titlecolor": INK, "axes.titleweight": "bold", "legend.frameon": False, "legend.labelcolor": INK,
}  # fmt: skip


def draw(report: Report, path: Path) -> None:
    """Write the picture."""
    market = report.busiest
    with plt.rc_context(STYLE):
        fig = plt.figure(figsize=(14, 9), dpi=140)
        grid = fig.add_gridspec(
            2, 3, height_ratios=(1.7, 1), left=0.06, right=0.975, top=0.865, bottom=0.065, hspace=0.27, wspace=0.2
        )
        _prices(fig.add_subplot(grid[0, :]), market)
        _volume(fig.add_subplot(grid[1, 0]), market)
        _profit(fig.add_subplot(grid[1, 1]), market)
        _latency(fig.add_subplot(grid[1, 2]), report)
        fig.text(0.06, 0.945, f"{market.symbol} at {market.venue}", fontsize=19, weight="bold")
        fig.text(0.06, 0.913, _source(report.sources[market.venue]), fontsize=10.5, color=MUTED)
        _figures(fig, report, market)
        fig.savefig(path, facecolor=GROUND)
        plt.close(fig)


def _source(source: str) -> str:
    kind, _, what = source.partition(":")
    if kind == "synthetic":
        return f"SYNTHETIC session, made up from seed {what}"
    if kind == "capture":
        files = [name.rpartition("/")[2] for name in what.split(",")]
        return "recorded session " + files[0] + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    return f"live from {what}"


def _micros(ns: int) -> str:
    return f"{ns / 1000:,.0f} µs" if ns < 1_000_000 else f"{ns / 1e6:,.1f} ms"


def _figures(fig: Any, report: Report, market: Market) -> None:
    order = report.tick_to_order
    figures = [
        ("trades", f"{market.trades:,}", INK),
        ("orders", f"{market.orders:,}", INK),
        ("fills", f"{market.fills:,}", INK),
        ("P&L", f"{market.pnl:+,.2f}", BUY if market.pnl >= 0 else SELL),
        ("tick to order p50", _micros(order.percentile(50)) if order.count else "-", MICRO),
        ("p99", _micros(order.percentile(99)) if order.count else "-", MICRO),
    ]
    for i, (name, value, colour) in enumerate(figures):
        x = 0.975 - (len(figures) - 1 - i) * 0.088
        fig.text(x, 0.945, value, fontsize=15, weight="bold", color=colour, ha="right")
        fig.text(x, 0.916, name, fontsize=8.5, color=MUTED, ha="right")


def _prices(ax: Any, market: Market) -> None:
    t, p = market.price
    if len(t):
        ax.plot(t, p, drawstyle="steps-post", color=PRICE, lw=0.9, alpha=0.75, label="trades")
    t, p = market.micro
    if len(t):
        ax.plot(t, p, color=MICRO, lw=1.25, label="microprice")
    t, p = market.sent
    if len(t):
        ax.scatter(t, p, marker="o", s=105, facecolors="none", edgecolors=GOLD, linewidths=0.8, alpha=0.75, zorder=4,
                   label=f"{len(t)} orders")  # fmt: skip
    for (t, p), marker, colour, name in (
        (market.buys, "^", BUY, f"{len(market.buys[0])} buys"),
        (market.sells, "v", SELL, f"{len(market.sells[0])} sells"),
    ):
        if len(t):
            ax.scatter(t, p, marker=marker, s=46, color=colour, edgecolors=GROUND, linewidths=0.7, zorder=5, label=name)
    ax.set_title("price, microprice and our fills", pad=8)
    ax.set_xlabel("seconds since the session began, as played")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.2f}" if abs(v) < 1000 else f"{v:,.0f}"))
    ax.margins(x=0.008, y=0.07)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper right", ncols=5, fontsize=9, handlelength=1.4, bbox_to_anchor=(1.0, 1.1))


def _volume(ax: Any, market: Market) -> None:
    t, bought, sold = market.volume
    if len(t):
        ax.bar(t + 0.25, bought, width=0.44, color=BUY, alpha=0.85, label="taker buys")
        ax.bar(t + 0.25, -sold, width=0.44, color=SELL, alpha=0.85, label="taker sells")
        ax.legend(loc="upper right", ncols=2, fontsize=8.5, handlelength=1.0)
        # One burst must not flatten all the rest: what is higher than this is cut off, and its size written there.
        top = 1.6 * float(np.percentile(np.concatenate([bought, sold]), 97)) or 1.0
        ax.set_ylim(-min(top, 1.15 * sold.max() or top), 1.3 * min(top, bought.max() or top))
        for values, sign in ((bought, 1), (sold, -1)):
            for i in np.flatnonzero(values > top).tolist():
                ax.annotate(
                    f"{values[i]:,.0f}", (t[i] + 0.25, sign * top), xytext=(-4, -9 * sign), textcoords="offset points",
                    fontsize=7.5, color=INK, ha="right", va="center",
                )  # fmt: skip
    ax.axhline(0, color=MUTED, lw=0.6)
    ax.margins(x=0.01)
    ax.set_title("traded quantity, each half second", pad=8)
    ax.set_xlabel("seconds")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{abs(v):g}"))


def _profit(ax: Any, market: Market) -> None:
    t, value = market.profit
    if len(t):
        ax.plot(t, value, color=GOLD, lw=1.3)
        ax.fill_between(t, value, 0, where=value >= 0, color=BUY, alpha=0.14, lw=0)
        ax.fill_between(t, value, 0, where=value < 0, color=SELL, alpha=0.14, lw=0)
    ax.axhline(0, color=MUTED, lw=0.6)
    ax.margins(x=0.01, y=0.12)
    ax.set_title("P&L at the microprice (no fees)", pad=8)
    ax.set_xlabel("seconds")
    ax.yaxis.set_major_locator(MaxNLocator(6))


def _latency(ax: Any, report: Report) -> None:
    """Shares over a logarithmic axis, four columns to an octave."""
    top = 0.0
    for h, colour, name in (
        (report.tick_to_publish, VIOLET, "published"),
        (report.tick_to_order, MICRO, "order sent"),
    ):
        if not h.count:
            continue
        x, share = _shares(h)
        ax.fill_between(x, share, step="mid", color=colour, alpha=0.28, lw=0)
        ax.step(x, share, where="mid", color=colour, lw=1.2, label=name)
        top = max(top, float(share.max()))
        p50, p99 = h.percentile(50) / 1000, h.percentile(99) / 1000
        for q, style in ((p50, "-"), (p99, ":")):
            ax.axvline(q, color=colour, lw=0.9, ls=style, alpha=0.9)
    ax.set_xscale("log")
    if top:
        ax.set_ylim(0, top * 1.25)
        low, high = _span(report)
        ax.set_xlim(low, high)
        ax.legend(loc="upper right", fontsize=8.5, handlelength=1.2)
    ax.set_title("latency from reception (line p50, dots p99)", pad=8)
    ax.set_xlabel("microseconds")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}" if v < 1000 else f"{v:,.0f}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0%}"))


def _shares(h: HdrHistogram) -> tuple[Any, Any]:
    edges = np.unique(np.round(2 ** np.arange(6, 35, 0.25)).astype(np.int64))
    counts = np.diff([h.count_up_to(int(edge)) for edge in edges])
    return np.sqrt(edges[1:] * edges[:-1].astype(float)) / 1000, counts / h.count


def _span(report: Report) -> tuple[float, float]:
    used = [h for h in (report.tick_to_order, report.tick_to_publish) if h.count]
    low = min(h.percentile(0.1) for h in used) / 1000
    high = max(h.percentile(99.9) for h in used) / 1000
    return max(low * 0.6, 0.1), high * 1.8
