"""Processes the daemon keeps beside itself: started, watched, started again with growing pauses, ended with it."""

import asyncio
import contextlib
import logging
import subprocess
from pathlib import Path

from infra.emulator.process import ProcessRef, die_along, read_ref, write_ref

log = logging.getLogger(__name__)

PAUSE_FIRST = 0.5
PAUSE_MOST = 30.0
# A child that ran this long was well: the next failure begins with a short pause again.
WELL_SECONDS = 60.0
GRACE_SECONDS = 10.0


class Child:
    def __init__(self, name: str, argv: list[str], folder: Path, cwd: Path) -> None:
        self.name = name
        self._argv = argv
        self._cwd = cwd
        self._ref = folder / f"{name}.json"
        self._log = folder / f"{name}.log"
        self._task: asyncio.Task[None] | None = None
        self.restarts = 0

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(end, self._ref)

    @property
    def pid(self) -> int | None:
        ref = read_ref(self._ref)
        return ref.pid if ref else None

    async def _keep(self) -> None:
        pause = PAUSE_FIRST
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(end, self._ref)  # one left by a daemon that was killed
        while True:
            began = loop.time()
            with self._log.open("ab") as out:
                child = await asyncio.create_subprocess_exec(
                    *self._argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self._cwd, preexec_fn=die_along
                )
            if ref := ProcessRef.of(child.pid):
                write_ref(self._ref, ref)
            code = await child.wait()
            if loop.time() - began > WELL_SECONDS:
                pause = PAUSE_FIRST
            log.warning("%s ended with %s; again in %.1f s (see %s)", self.name, code, pause, self._log)
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_MOST)
            self.restarts += 1


def end(ref_file: Path) -> None:
    """End the child that a file names, if it still runs."""
    if ref := read_ref(ref_file):
        ref.stop(GRACE_SECONDS)
    ref_file.unlink(missing_ok=True)
