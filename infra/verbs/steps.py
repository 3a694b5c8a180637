"""Long work shown as numbered steps: which of how many, how long so far, and the log's tail when one fails."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

HEARTBEAT_S = 15.0
TAIL_LINES = 40


class StepFailed(Exception):
    """A step ended badly; the message is what to show the user."""


class Steps:
    """Runs named steps in order; commands log to a file each, lines that match `show` also to the terminal."""

    def __init__(self, title: str, total: int, log_dir: Path) -> None:
        self.title = title
        self.total = total
        self.number = 0
        self.log_dir = log_dir
        self.started = time.monotonic()
        log_dir.mkdir(parents=True, exist_ok=True)

    def command(
        self,
        name: str,
        argv: Sequence[str],
        *,
        show: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """Run one command as the next step and return its output; raise StepFailed with the tail of its log."""
        log_path = self.log_dir / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.log"
        pattern = re.compile(show) if show else None
        self._begin(name)
        begun = time.monotonic()
        lines: list[str] = []
        with log_path.open("w") as log, _Heartbeat(begun):
            process = subprocess.Popen(
                argv,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    log.write(line)
                    log.flush()
                    lines.append(line)
                    if pattern and pattern.search(line):
                        print(f"        {line.rstrip()}", flush=True)
                code = process.wait()
            except KeyboardInterrupt:
                self._stop(process)
                raise
        if code != 0:
            tail = "".join(lines[-TAIL_LINES:]).rstrip()
            raise StepFailed(
                f"{tail}\n\nstep {self.number}/{self.total} ({name}) ended with status {code}; whole log: {log_path}"
            )
        self._end(begun)
        return "".join(lines)

    def call(self, name: str, function: Callable[[], str | None]) -> None:
        """Run a function as the next step; what it returns is shown behind the elapsed time."""
        self._begin(name)
        begun = time.monotonic()
        with _Heartbeat(begun):
            note = function()
        self._end(begun, note)

    def finish(self, note: str = "") -> None:
        print(f"{self.title}: done in {time.monotonic() - self.started:.0f} s{note}", flush=True)

    def _begin(self, name: str) -> None:
        self.number += 1
        print(f"[{self.number}/{self.total}] {name} (at {time.monotonic() - self.started:.0f} s)", flush=True)

    def _end(self, begun: float, note: str | None = None) -> None:
        print(f"        done in {time.monotonic() - begun:.0f} s{': ' + note if note else ''}", flush=True)

    @staticmethod
    def _stop(process: "subprocess.Popen[str]") -> None:
        # The terminal's Ctrl-C reached the child too: let it put its state in order before insisting.
        for sig, patience in ((None, 60), (signal.SIGTERM, 20), (signal.SIGKILL, 5)):
            if sig is not None:
                process.send_signal(sig)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            return


class _Heartbeat:
    """Says every few seconds that a step is still at work."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if sys.stdout.isatty():
            print("\r\033[K", end="", flush=True)

    def _run(self) -> None:
        terminal = sys.stdout.isatty()
        while not self._over.wait(1.0 if terminal else HEARTBEAT_S):
            elapsed = f"        ... {time.monotonic() - self._begun:.0f} s"
            print(f"\r{elapsed}" if terminal else elapsed, end="" if terminal else "\n", flush=True)
