"""The benchmark's picture: latency against how rare it is, one curve an engine. Needs matplotlib (extra `demo`)."""

from pathlib import Path

import matplotlib as mpl

from baretick.bench.measure import Result

mpl.use("Agg")

import matplotlib.pyplot as plt

COLOURS = ("#0b84f3", "#e4572e", "#6a994e", "#8e6c8a", "#c9a227", "#5c677d", "#2a9d8f", "#b5179e")


def draw(lines: list[Result], title: str, path: Path) -> None:
    """Write a PNG: share of commands on a scale of nines, nanoseconds on a logarithmic one."""
    fig, ax = plt.subplots(figsize=(11, 6), dpi=130)
    for n, line in enumerate(lines):
        # The last points of a curve all stand for the one slowest command; more nines than commands say nothing.
        x = [10 ** (k / 8) for k in range(len(line.curve)) if 10 ** (k / 8) <= line.events]
        ax.step(x, line.curve[: len(x)], where="post", label=line.name, color=COLOURS[n % len(COLOURS)],
                lw=2.2 if n == 0 else 1.3)  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    shares = (1, 2, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
    ax.set_xticks(shares, ["min", "50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"])
    ax.set_xlim(1, max(line.events for line in lines))
    ax.set_xlabel("share of commands that took no longer")
    ax.set_ylabel("nanoseconds a command")
    ax.set_title(f"Latency, {title}", loc="left", fontweight="bold")
    ax.grid(True, which="major", color="#d9dde2", lw=0.7)
    ax.grid(True, which="minor", axis="y", color="#eef0f3", lw=0.5)
    for spine in ("top", "right"):
        ax.spines[spine].set_visible(False)
    ax.legend(frameon=False, loc="upper left")
    fig.tight_layout()
    fig.savefig(path)
    plt.close(fig)
