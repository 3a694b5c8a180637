"""Processes by pid and start time, so that a pid which the kernel has given to someone else is never taken for ours."""

import ctypes
import os
import signal
import time
from pathlib import Path

from pydantic import BaseModel

_PR_SET_PDEATHSIG = 1


class ProcessRef(BaseModel):
    pid: int
    # Clock ticks after boot at which it started (field 22 of /proc/<pid>/stat), and the boot those count from.
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> "ProcessRef | None":
        started = _started(pid)
        return None if started is None else cls(pid=pid, started=started, boot=_boot_id())

    def alive(self) -> bool:
        return self.boot == _boot_id() and _started(self.pid) == self.started

    def kill(self, number: signal.Signals) -> None:
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def wait(self, seconds: float) -> bool:
        """Whether it was gone within that time."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        return True

    def stop(self, grace: float) -> None:
        """Ask it to end; end it where it has not within `grace` seconds."""
        self.kill(signal.SIGTERM)
        if not self.wait(grace):
            self.kill(signal.SIGKILL)
            self.wait(5)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> int | None:
    """None where there is no such process, or only its unreaped remains."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command may hold spaces and parentheses: what follows the last one is regular.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def read_ref(path: Path) -> ProcessRef | None:
    """The process a file names, or None where the file is missing, damaged, or names one that is gone."""
    try:
        ref = ProcessRef.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return ref if ref.alive() else None


def write_ref(path: Path, ref: ProcessRef) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(ref.model_dump_json())
    scratch.replace(path)


def die_along() -> None:
    """In a child, before it becomes its program: end when the parent does, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
