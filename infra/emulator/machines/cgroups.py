"""The cgroup that holds an instance's machines: found where this system mounts v2, emptied and removed after."""

import contextlib
import os
import time
from pathlib import Path

from infra.emulator.errors import EmulatorError

# Says which clone's instance a group belongs to: gone when the group is, unlike any file.
_OWNER = "user.baretick.folder"


def root() -> Path:
    """Where cgroup v2 is: the whole hierarchy on a modern system, a side mount on a hybrid one."""
    if found := _mounted():
        return found
    raise EmulatorError(
        "no cgroup v2 hierarchy is mounted, and machines need one: mount -t cgroup2 none /sys/fs/cgroup/unified"
    )


def _mounted() -> Path | None:
    return next(iter(_hierarchies("cgroup2")), None)


def _hierarchies(version: str) -> list[Path]:
    """Where hierarchies of a version ("cgroup2", or "cgroup" for the first) are mounted."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return [Path(where) for _, where, kind, *_ in mounts if kind == version]


def _everywhere(folder: Path) -> list[Path]:
    """The group, and those that systemd-nspawn made of its name in the v1 hierarchies of a hybrid system."""
    name = folder.relative_to(root())
    return [path for path in (folder, *(v1 / name for v1 in _hierarchies("cgroup"))) if path.exists()]


def instance(name: str) -> Path:
    return root() / f"bt-{name}"


def existing(name: str) -> list[Path]:
    """The instance's groups, where there are any."""
    return _everywhere(instance(name)) if _mounted() else []


def owner(name: str) -> Path | None:
    """The folder of the instance that has the group, where the group says so."""
    try:
        return Path(os.fsdecode(os.getxattr(instance(name), _OWNER))) if _mounted() else None
    except OSError:
        return None


def claim(name: str, folder: Path) -> None:
    """Take the name for the instance in that folder; refuse where another clone's machines have it."""
    other = owner(name)
    if other and other != folder and populated(instance(name)):
        raise EmulatorError(
            f"machines named {name!r} run already, for {other}: stop them there, or choose another stack name here"
        )
    make(instance(name))
    with contextlib.suppress(OSError):  # a kernel before 5.7 keeps no such note; then names are not guarded
        os.setxattr(instance(name), _OWNER, os.fsencode(folder))


def make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    # On a pure v2 system the controllers are handed down, so that limits of units inside hold. On a hybrid one
    # there are none to hand down.
    for parent in (folder.parent, folder):
        for controller in (parent / "cgroup.controllers").read_text().split():
            with contextlib.suppress(OSError):
                (parent / "cgroup.subtree_control").write_text(f"+{controller}")
    return folder


def populated(folder: Path) -> bool:
    try:
        return "populated 1" in (folder / "cgroup.events").read_text()
    except FileNotFoundError:
        return False


def kill(folder: Path, seconds: float = 10) -> None:
    """End every process in the group and below, and wait until they are gone."""
    if not folder.exists():
        return
    (folder / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + seconds
    while populated(folder):
        if time.monotonic() >= deadline:
            raise EmulatorError(f"processes in {folder} outlived SIGKILL for {seconds:.0f} s")
        time.sleep(0.02)


def remove(folder: Path) -> None:
    """Remove a group without processes, and all below it, in every hierarchy."""
    for group in _everywhere(folder):
        for below in sorted((p for p in group.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True):
            _rmdir(below)
        _rmdir(group)


def _rmdir(folder: Path) -> None:
    # A group stays busy for a moment after its last process has gone.
    for _ in range(100):
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
    raise EmulatorError(f"cgroup {folder} cannot be removed: something still runs in it")
