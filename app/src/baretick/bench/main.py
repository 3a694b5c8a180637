"""`baretick bench`: measure the engine over a stream, beside its peers, as a table or as one JSON object."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from baretick.bench import bare, orders, peers, table
from baretick.bench.stream import StreamError, check, read, symbols_of

SEED: Final = 42
L2_UPDATES: Final = 500_000
LOBSTER_LACKS: Final = (3, 4)
"""REDUCE and REPLACE: rows left out of the file that lobster gets, and that the engine gets beside it."""


def main(
    *,
    stream: Path | None,
    count: int,
    symbols: int,
    mix: str,
    comprehensive: bool,
    with_peers: bool,
    peers_dir: Path | None,
    rate: float,
    as_json: bool,
    out: Path | None,
) -> int:
    """Run it; the exit code: 0, 1 when an engine disagrees with another, 2 when the arguments make no sense."""
    console = Console(stderr=as_json, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=as_json, highlight=False, width=150)
    try:
        rows = read(stream) if stream else _make(count, symbols, mix)
        harnesses = peers.sources(peers_dir) if with_peers else None
        report = _measure(rows, stream, harnesses, console, comprehensive=comprehensive, rate=rate, out=out)
    except (StreamError, peers.PeerError, ValueError) as e:
        print(f"bench: {e}", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(report, separators=(", ", ": ")))
    return 1 if report.get("disagreements") else 0


def _make(count: int, symbols: int, mix: str) -> orders.Rows:
    if mix == "deep":
        if symbols != 1:
            raise ValueError(f"symbols={symbols}: the deep mix has one symbol")
        return orders.make_deep(44, max(count // 2, 1), cancels=True)
    return orders.make(SEED if symbols == 1 else SEED + 1, count, symbols, mix)


def _measure(
    rows: orders.Rows,
    stream: Path | None,
    harnesses: Path | None,
    console: Console,
    *,
    comprehensive: bool,
    rate: float,
    out: Path | None,
) -> dict[str, Any]:
    from baretick.bench import measure  # late: the compiled core takes a second to load

    check(rows, str(stream or "generated stream"))
    symbols = symbols_of(rows)
    plural = "" if symbols == 1 else "s"
    title = stream.name if stream else f"{len(rows):,} commands, {symbols} symbol{plural}"
    result, histogram, machine = measure.engine(rows, symbols)
    report: dict[str, Any] = result.as_json() | {"symbols": symbols}
    lines = [result]
    if machine.other_rejects:
        report["other_rejects"] = machine.other_rejects
    if rate:
        report["open_loop"] = _open_loop(machine, rate, console)
    if harnesses:
        beside = _peers(rows, symbols, stream, harnesses, result, console)
        lines += beside["results"]
        report["peers"], report["disagreements"] = beside["report"], beside["disagreements"]
    table.show(console, title, lines, report)
    if comprehensive:
        from baretick.bench import comprehensive as whole

        report["comprehensive"] = whole.report(machine, rows, console)
    if out is not None:
        from baretick.bench import plot
        from baretick.telemetry.export import write_hgrm

        out.mkdir(parents=True, exist_ok=True)
        write_hgrm(histogram, out / "baretick.hgrm")
        plot.draw(lines, title, out / "latency.png")
        console.print(f"wrote {out / 'baretick.hgrm'} and {out / 'latency.png'}")
    return report


def _open_loop(machine: Any, rate: float, console: Console) -> dict[str, Any]:
    from baretick.telemetry.clock import calibrate

    machine.fresh()
    service, response = machine.open_loop(rate, calibrate())
    levels = [50, 99, 99.9, 100]
    said: dict[str, Any] = {"rate": rate}
    for name, h in (("service_ns", service), ("response_ns", response)):
        said[name] = dict(zip(("p50", "p99", "p999", "max"), h.percentiles(levels).tolist(), strict=True))
    table.open_loop(console, rate, said)
    return said


def _peers(
    rows: orders.Rows, symbols: int, stream: Path | None, harnesses: Path, ours: Any, console: Console
) -> dict[str, Any]:
    from baretick.bench import l2, measure

    results, report, disagreements = [], {}, []
    with tempfile.TemporaryDirectory(prefix="baretick-bench-") as folder:
        whole = stream or Path(folder) / "stream.bin"
        if stream is None:
            rows.tofile(whole)
        cut = rows[~np.isin(rows[:, 1], LOBSTER_LACKS)]
        runs: list[tuple[str, Path, Any, tuple[str, ...]]] = [
            (peers.JAVA, whole, ours, ()),
            ("orderbook_rs", whole, ours, ()),
            ("lobster", Path(folder) / "cut.bin", None, ()),
        ]
        cut.tofile(runs[2][1])
        passes = measure.passes_for(len(rows))
        for name, path, beside, more in runs:
            command = peers.build(name, harnesses, console.print)
            own = beside or measure.engine(cut, symbols, "baretick, without reduce and replace")[0]
            said = peers.run(name, command, path, symbols, passes if name == peers.JAVA else min(passes, 3), *more)
            entry = _entry(name, said, own, len(rows) - said["events"])
            results += [own] if beside is None else []
            results.append(table.peer(peers.TITLES[name], said, entry))
            report[name] = entry
            disagreements += [f"{peers.TITLES[name]}: {text}" for text in entry["differences"]]
        if rows[:, 4].min() >= 0 and rows[:, 4].max() < bare.TICKS - 1:
            level_updates = l2.updates(rows, symbols, L2_UPDATES)
            path = Path(folder) / "l2.bin"
            level_updates.tofile(path)
            bounds = (str(int(level_updates[:, 4].min())), str(int(level_updates[:, 4].max())))
            command = peers.build("hftbacktest", harnesses, console.print)
            theirs = peers.run("hftbacktest", command, path, symbols, 3, *bounds)
            book = l2.measure(level_updates, symbols)
            report["l2"] = {"baretick": _short(book)}
            results.append(table.peer("baretick L2Book (updates)", book, None))
            for kind, said in theirs.items():
                differences = peers.differences(book, said)
                report["l2"][f"hftbacktest {kind}"] = _short(said) | {"differences": differences}
                results.append(table.peer(f"hftbacktest L2 {kind} (updates)", said, {"differences": differences}))
                disagreements += [f"hftbacktest {kind}: {text}" for text in differences]
    return {"results": results, "report": report, "disagreements": disagreements}


def _short(said: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in said.items() if k != "curve"}


def _entry(name: str, said: dict[str, Any], ours: Any, skipped: int) -> dict[str, Any]:
    return _short(said) | {
        "skipped_rows": skipped,
        "differences": peers.differences(ours.as_json(), said),
        "ratio": round(said["mean_ns"] / ours.mean_ns, 2),
    }
