"""Fill the store: obtain what is missing, two at a time, with progress; what is right already is left alone.

Interrupted, it can be run again: what was finished is in the store, and the clients' own caches keep the rest.
"""

import concurrent.futures
import shutil
import sys
import threading
import time
from pathlib import Path

from infra.mirror import build_go, build_maven, clients, store, wheels
from infra.mirror.errors import MirrorError
from infra.mirror.layout import scratch
from infra.mirror.manifest import Artefact, Go, Maven, Wheels, find, load

# Compilers use all cores anyway; two at once overlap one's download with the other's compile.
_AT_ONCE = 2
_HEARTBEAT = 30.0


class _Progress:
    """Lines like `[3/9] minio … 212 s`, from several threads."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._lock = threading.Lock()
        self._running: dict[str, tuple[int, float]] = {}

    def start(self, number: int, artefact: Artefact) -> None:
        with self._lock:
            self._running[artefact.name] = number, time.monotonic()
            self._say(number, f"{artefact.name} {artefact.version} …")

    def end(self, artefact: Artefact, word: str) -> None:
        with self._lock:
            number, started = self._running.pop(artefact.name)
            self._say(number, f"{artefact.name} {artefact.version}: {word}, {time.monotonic() - started:.0f} s")

    def heartbeat(self) -> None:
        with self._lock:
            for name, (number, started) in self._running.items():
                self._say(number, f"{name} … {time.monotonic() - started:.0f} s")

    def _say(self, number: int, text: str) -> None:
        print(f"[{number}/{self._total}] {text}", flush=True)


def fill(names: list[str]) -> None:
    """Obtain the named artefacts, or all of them."""
    chosen = [a for a in ([find(n) for n in names] or load()) if a.stored]
    with store.exclusive("another fill is running"):
        _fill(chosen)


def _fill(chosen: list[Artefact]) -> None:
    started = time.monotonic()
    missing: list[tuple[int, Artefact]] = []
    for number, artefact in enumerate(chosen, 1):
        broken = store.faults(artefact)
        store.refuse_altered(artefact, broken)
        if broken:
            missing.append((number, artefact))
    present = len(chosen) - len(missing)
    if present:
        print(f"[{present}/{len(chosen)}] in the store already, checksums right", flush=True)
    if not missing:
        return
    progress = _Progress(len(chosen))
    failures: list[MirrorError] = []
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = {pool.submit(_obtain, number, artefact, progress) for number, artefact in missing}
        try:
            while jobs:
                done, jobs = concurrent.futures.wait(jobs, _HEARTBEAT, concurrent.futures.FIRST_COMPLETED)
                if not done:
                    progress.heartbeat()
                for job in done:
                    error = job.exception() if not job.cancelled() else None
                    if error is not None and not isinstance(error, MirrorError):
                        raise error
                    if error is not None:
                        failures.append(error)
                        # What has begun may finish (its work would be lost); nothing new begins.
                        for waiting in jobs:
                            waiting.cancel()
        except BaseException:
            # First what waits, so that ending what runs starts nothing new.
            pool.shutdown(wait=False, cancel_futures=True)
            clients.stop_all()
            raise
    if failures:
        for extra in failures[1:]:
            print(f"error: {extra}", file=sys.stderr)
        raise failures[0]
    print(f"[{len(chosen)}/{len(chosen)}] store complete, {time.monotonic() - started:.0f} s", flush=True)


def _obtain(number: int, artefact: Artefact, progress: _Progress) -> None:
    progress.start(number, artefact)
    staged = scratch() / f"{artefact.name}.partial"
    # Only we hold the lock: what lies here is a leftover of an interrupted run.
    shutil.rmtree(staged, ignore_errors=True)
    clients.log_file(artefact.name).unlink(missing_ok=True)
    staged.mkdir(parents=True)
    try:
        build(artefact, staged)
        store.admit(artefact, staged)
    except BaseException:
        progress.end(artefact, "interrupted" if clients.stopping() else "FAILED")
        raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    progress.end(artefact, "done")


def build(artefact: Artefact, staged: Path) -> None:
    """Obtain one artefact into a folder, unchecked."""
    match artefact.obtain:
        case Go() as recipe:
            build_go.build(artefact, recipe, staged)
        case Maven() as recipe:
            build_maven.build(artefact, recipe, staged)
        case Wheels() as recipe:
            wheels.download(artefact, recipe, staged)
        case other:
            raise AssertionError(f"{artefact.name}: nothing to obtain for {other.kind}")
