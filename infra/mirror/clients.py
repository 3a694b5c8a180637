"""Run package clients (go, mvn, pip) with the machine's own configuration, output in a log, and stop them with us."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from infra.mirror.errors import MirrorError
from infra.mirror.layout import scratch

_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()
_stopping = threading.Event()


def log_file(artefact: str) -> Path:
    return scratch() / "logs" / f"{artefact}.log"


def run(artefact: str, command: list[str], cwd: Path, env: Mapping[str, str], what: str) -> None:
    """Run to the end or raise, quoting the log's last lines: an unreachable registry says so there."""
    log = log_file(artefact)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        out.write(f"$ {' '.join(command)}\n".encode())
        out.flush()
        try:
            # Its own session: a Ctrl-C reaches us alone, and we end the whole group.
            process = subprocess.Popen(
                command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        except FileNotFoundError as e:
            raise MirrorError(artefact, f"{command[0]} is not installed", mend="infra/bootstrap.sh all") from e
        with _lock:
            _running.add(process)
        try:
            if _stopping.is_set():
                _end(process)
            code = process.wait()
        finally:
            with _lock:
                _running.discard(process)
    if code:
        tail = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-6:]
        raise MirrorError(
            artefact,
            f"{what} failed ({command[0].rsplit('/', 1)[-1]} ended with {code})",
            found="\n            ".join(tail),
            mend=f"whole log: {log}; a registry that can't be reached is the client's own configuration "
            "(go env GOPROXY, pip config list, ~/.m2/settings.xml); then run fill again, it goes on where it stopped",
        )


def stopping() -> bool:
    """Whether `stop_all` was called: what fails from now on fails because of it."""
    return _stopping.is_set()


def stop_all() -> None:
    """End every client that still runs, with its children."""
    _stopping.set()
    with _lock:
        running = list(_running)
    for process in running:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=10)
    except ProcessLookupError:
        return
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
