"""The store: artefacts/<name>/<version>/<file> in the cache, outside every clone; nothing enters it unchecked."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.mirror import wheels
from infra.mirror.checksums import MISSING
from infra.mirror.checksums import found as found_in
from infra.mirror.errors import MirrorError
from infra.mirror.layout import folder, root, scratch
from infra.mirror.manifest import Artefact, Wheels, find


@dataclass(frozen=True, slots=True)
class Fault:
    """A file of the store that is not what the manifest says."""

    file: str
    expected: str
    found: str

    @property
    def missing(self) -> bool:
        return self.found == MISSING


def path(name: str) -> Path:
    """Where an artefact lies: its folder when that is what one uses, else its single file. Not checked: see verify."""
    artefact = find(name)
    if not artefact.stored:
        raise MirrorError(name, "is not stored: apt installs it through the site's proxy", mend="nothing to do")
    where = folder(artefact) if artefact.directory else folder(artefact) / artefact.file
    if not where.exists():
        raise MirrorError(
            name,
            "is not in the mirror's store",
            expected=f"{where}, version {artefact.version}",
            found=_other_versions(artefact),
            mend=f"python -m infra.mirror fill {name}",
        )
    return where


def _other_versions(artefact: Artefact) -> str:
    parent = root() / artefact.name
    others = sorted(p.name for p in parent.iterdir() if p.is_dir()) if parent.is_dir() else []
    return f"only version {', '.join(others)}" if others else "no version of it"


def faults(artefact: Artefact, where: Path | None = None) -> list[Fault]:
    """Everything that is missing or altered, by reading every byte; empty when the store is right."""
    if not artefact.stored:
        return []
    base = where or folder(artefact)
    if isinstance(artefact.obtain, Wheels):
        return [Fault(*fault) for fault in wheels.faults(artefact.obtain, base)]
    found: list[Fault] = []
    for name, expected in artefact.files.items():
        digest = found_in(base / name)
        if digest != expected:
            found.append(Fault(name, expected, digest))
    return found


def refuse_altered(artefact: Artefact, broken: list[Fault]) -> None:
    """Files that are there but wrong were altered after they were checked: stop, whoever altered them."""
    for fault in broken:
        if not fault.missing:
            where = folder(artefact)
            raise MirrorError(
                artefact.name,
                f"{where / fault.file} is not the file that was put there",
                expected=f"sha256 {fault.expected}",
                found=f"sha256 {fault.found}",
                mend=f"find out who changed it; then rm -r '{where}' and python -m infra.mirror fill {artefact.name}",
            )


def admit(artefact: Artefact, staged: Path) -> None:
    """Move a finished build into the store, if every checksum is right; a wrong one is kept aside to be looked at."""
    broken = faults(artefact, staged)
    if broken:
        rejected = scratch() / f"{artefact.name}.rejected"
        shutil.rmtree(rejected, ignore_errors=True)
        staged.rename(rejected)
        fault = broken[0]
        raise MirrorError(
            artefact.name,
            f"{fault.file} has the wrong checksum and was not taken into the store",
            expected=f"sha256 {fault.expected}",
            found=fault.found if fault.missing else f"sha256 {fault.found}",
            mend=f"compare {rejected} with what upstream publishes; if the manifest is what is wrong, correct "
            f"{artefact.name} in infra/mirror/manifest.yaml",
        )
    target = folder(artefact)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        # Incomplete (an altered file would have stopped us): replace it as a whole.
        leftover = scratch() / f"{artefact.name}.replaced"
        shutil.rmtree(leftover, ignore_errors=True)
        target.rename(leftover)
        staged.rename(target)
        shutil.rmtree(leftover, ignore_errors=True)
    else:
        staged.rename(target)


@contextlib.contextmanager
def exclusive(announce: str) -> Iterator[None]:
    """One fill at a time on a machine; a second one waits and says so. The lock goes with the process."""
    scratch().mkdir(parents=True, exist_ok=True)
    with (scratch() / "fill.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            print(f"{announce} (process {lock.read().strip() or 'unknown'}): waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield
