"""`baretick bench --comprehensive`: what each feature costs, depth, growth with length, one call from Python."""

import time
from typing import Any

from rich.console import Console

from baretick.bench import core, measure, orders
from baretick.matching.book import MatchingBook

DEEP = 1_000_000
SHALLOW = 1_000


def measure_cancels(depth: int) -> float:
    """CPU nanoseconds a cancel, in random order, out of a book of `depth` resting orders."""
    rows = orders.make_deep(44, depth, cancels=True)
    commands = core.commands_of(rows)
    adds, cancels = commands[:depth].copy(), commands[depth:].copy()
    machine = core.Core(adds, 1, depth + 1)
    repeats = max(1, 200_000 // depth)
    times = []
    for _ in range(3):
        spent = 0
        for _ in range(repeats):
            machine.fresh()
            machine.commands = adds
            machine.run()
            machine.commands = cancels
            began = time.thread_time_ns()
            machine.run()
            spent += time.thread_time_ns() - began
        times.append(spent / repeats / depth)
    return min(times)


def one_call() -> dict[str, float]:
    """Nanoseconds a call from Python: rest or cancel, and trade with the events drained."""
    book = MatchingBook(1, orders=1024, events=1024)

    def rest_and_cancel() -> None:
        for i in range(50_000):
            book.limit(0, 0, i, 100, 1)
            book.cancel(i)
            book.drain_array()

    best = float("inf")
    rest_and_cancel()
    for _ in range(3):
        began = time.thread_time_ns()
        rest_and_cancel()
        best = min(best, (time.thread_time_ns() - began) / 100_000)
    return {"rest_or_cancel": round(best, 1)}


def measure_all(machine: core.Core, rows: orders.Rows) -> dict[str, Any]:
    symbols = machine.symbols
    out: dict[str, Any] = {"by_feature_ns": measure.by_feature(machine, rows)}
    deep = orders.make_deep(44, DEEP, cancels=False)
    result = measure.engine(deep, 1)[0]
    out["deep_add"] = {k: result.as_json()[k] for k in ("mean_ns", "bytes_per_order", "growth_bytes", "bookhash")}
    far, near = measure_cancels(DEEP), measure_cancels(SHALLOW)
    out["cancel_ns"] = {"deep": round(far, 1), "shallow": round(near, 1), "ratio": round(far / near, 2)}
    growth = {}
    for events in (1_000_000, 5_000_000):
        part = core.Core(core.commands_of(orders.make(42, events, symbols)), symbols)
        growth[str(events)] = round(measure.cpu_passes(events, part.fresh, part.run)[0], 1)
        del part
    out["mean_ns_by_length"] = growth
    out["call_ns"] = one_call()
    return out


def report(machine: core.Core, rows: orders.Rows, console: Console) -> dict[str, Any]:
    """Measure and print."""
    out = measure_all(machine, rows)
    console.print("[bold]where the time goes[/] (CPU ns a command, features added one after the other)")
    before = 0.0
    for name, ns in out["by_feature_ns"].items():
        console.print(f"  {name:60} {ns:8.1f}  {ns - before:+8.1f}")
        before = ns
    deep, cancel, growth = out["deep_add"], out["cancel_ns"], out["mean_ns_by_length"]
    console.print(
        f"1 M resting orders: {deep['mean_ns']} ns an order, {deep['bytes_per_order']} bytes an order, "
        f"{deep['growth_bytes'] / 1e6:.0f} MB; cancel among 1 M {cancel['deep']} ns, "
        f"among 1,000 {cancel['shallow']} ns ({cancel['ratio']} times)"
    )
    console.print(f"mean by length of the stream: {growth}; one call from Python: {out['call_ns']} ns")
    return out
