"""How much memory the machine gave at most while something ran, from /proc/meminfo."""

import threading
from pathlib import Path


def available_kib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    raise OSError("/proc/meminfo names no MemAvailable")


class PeakMemory:
    """Samples once a second; `peak_gib` is the largest use above what was in use at the start."""

    def __init__(self) -> None:
        self._start = self._lowest = available_kib()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def peak_gib(self) -> float:
        return (self._start - self._lowest) / 2**20

    def _run(self) -> None:
        while not self._over.wait(1.0):
            self._lowest = min(self._lowest, available_kib())
