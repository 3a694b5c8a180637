"""What the benchmark prints: one table, the engine first, then what the others took for the same work."""

from typing import Any

from rich.console import Console
from rich.table import Table

from baretick.bench.measure import Result

RATIO_NOTE = (
    "mean: CPU time of whole passes, best of several; percentiles: wall time of each command, the stamp included. "
    "x: the peer's mean over ours on the same rows. digest: same = every figure that the peer gives equals ours."
)

LEVELS = (("P50", "p50"), ("P99", "p99"), ("P99.9", "p999"), ("max", "max"))


def peer(title: str, said: dict[str, Any], entry: dict[str, Any] | None) -> Result:
    """A peer's JSON object as a line of the table."""
    curve = [float(v) for v in said["curve"]]
    return Result(
        name=title,
        events=said["events"],
        trades=said.get("trades", 0),
        volume=said.get("volume", 0),
        tradehash=said.get("tradehash", ""),
        resting=said.get("resting"),
        restqty=said.get("restqty"),
        bookhash=said.get("bookhash"),
        rejects=said.get("rejects"),
        mean_ns=said["mean_ns"],
        median_mean_ns=said["median_mean_ns"],
        p50_ns=_at(curve, 0.5),
        p99_ns=curve[16],
        p999_ns=curve[24],
        max_ns=float(said["max_ns"]),
        curve=curve,
        extra={"entry": entry or {}},
    )


def _at(curve: list[float], share: float) -> float:
    """Between the curve's two shares that enclose a share: the nearer one above."""
    k = next(k for k in range(len(curve)) if 1 - 10 ** (-k / 8) >= share)
    return curve[k]


def show(console: Console, title: str, lines: list[Result], report: dict[str, Any]) -> None:
    """Print the table."""
    t = Table(title=f"[bold]{title}[/]", title_justify="left", header_style="bold", box=None, pad_edge=False)
    t.add_column("engine", no_wrap=True)
    for name in ("mean ns", "P50", "P99", "P99.9", "max us", "M/s", "x"):
        t.add_column(name, justify="right")
    t.add_column("digest", no_wrap=True)
    for line in lines:
        entry = line.extra.get("entry")
        t.add_row(
            line.name,
            f"{line.mean_ns:,.1f}",
            *(f"{v:,.0f}" for v in (line.p50_ns, line.p99_ns, line.p999_ns)),
            f"{line.max_ns / 1000:,.0f}",
            f"{line.orders_per_s / 1e6:.2f}",
            f"{entry['ratio']:.1f}" if entry and "ratio" in entry else "",
            _verdict(entry),
        )
    console.print(t)
    console.print(
        f"{report['bytes_per_order']} bytes an order ({report['bytes_per_order_from']}, at most "
        f"{report['peak_open_orders']:,} open); page faults {report['minor_page_faults']} minor, "
        f"{report['major_page_faults']} major; clock {report['clock']}"
    )
    console.print(
        f"trades {report['trades']:,} volume {report['volume']:,} tradehash {report['tradehash']} "
        f"resting {report['resting']:,} restqty {report['restqty']:,} bookhash {report['bookhash']} "
        f"rejects {report['rejects']:,}"
    )
    if len(lines) > 1:
        console.print(RATIO_NOTE, style="dim")
    for text in report.get("disagreements", ()):
        console.print(f"[bold red]DIFFERS[/] {text}")


def _verdict(entry: dict[str, Any] | None) -> str:
    if not entry:
        return ""
    if entry.get("differences"):
        return "[red]DIFFERS[/]"
    skipped = entry.get("skipped_rows")
    return f"same, {skipped:,} rows skipped" if skipped else "same"


def open_loop(console: Console, rate: float, said: dict[str, Any]) -> None:
    """Print service beside response time."""
    for name in ("service_ns", "response_ns"):
        v = said[name]
        said_so = " ".join(f"{level} {v[key]:,}" for level, key in LEVELS)
        console.print(f"{name[:-3]:>8} at {rate:,.0f}/s: {said_so} ns")
