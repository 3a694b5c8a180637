"""The rescue system's programs for block devices, over disks that are directories: each does what is asked of it here.

Called by the name it is linked under. What it does not know it refuses, as the real one would a wrong option. Runs in
the rescue system: standard library alone.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.emulator.dedicated.storage import LVM_MEMBER, RAID_MEMBER, Node, Storage, StorageError

DISKS, IMAGES = Path("/emulated/disks"), Path("/emulated/images")
# Arrays and volumes are seen once somebody has assembled them, for as long as this system runs.
ASSEMBLED = Path("/run/emulated-assembled")
SMART_FAILING = 8
_USAGE, _MOUNT_FAILED = 1, 32


def visible(storage: Storage, name: str) -> list[Node]:
    above = storage.on(name)
    return above if ASSEMBLED.exists() else [n for n in above if n.type == "part"]


def lsblk(storage: Storage, args: list[str]) -> int:
    flags, columns, devices = set[str](), ["NAME", "SIZE", "TYPE"], list[str]()
    rest = iter(args)
    for arg in rest:
        if arg == "-o":
            columns = next(rest, "").split(",")
        elif arg.startswith("-") and set(arg[1:]) <= set("bdnrps"):
            flags |= set(arg[1:])
        elif arg.startswith("-"):
            raise StorageError(f"lsblk: invalid option -- {arg!r}")
        else:
            devices.append(arg)
    known: dict[str, Callable[[Node], str]] = {
        "NAME": lambda n: path_of(n) if "p" in flags else n.name,
        "TYPE": lambda n: n.type,
        "SIZE": lambda n: str(n.bytes),
        "ROTA": lambda n: str(int(n.rotational)),
        "MODEL": lambda n: n.model,
        "FSTYPE": lambda n: n.fstype,
    }
    if unknown := [c for c in columns if c not in known]:
        raise StorageError(f"lsblk: unknown column: {unknown[0]}")
    roots = [storage.get(d) for d in devices] or storage.disks()
    if "n" not in flags:
        print(" ".join(columns))
    for root in roots:
        for node in [root] if "d" in flags else walk(storage, root, downward="s" in flags):
            print(" ".join(known[c](node) for c in columns).rstrip())
    return 0


def walk(storage: Storage, node: Node, *, downward: bool) -> Iterator[Node]:
    """The device and what lies on it, or (`downward`) what it lies on."""
    yield node
    for other in [storage.get(p) for p in node.parents] if downward else visible(storage, node.name):
        yield from walk(storage, other, downward=downward)


def path_of(node: Node) -> str:
    return f"/dev/mapper/{node.name}" if node.type == "lvm" else f"/dev/{node.name}"


def smartctl(storage: Storage, args: list[str]) -> int:
    node = storage.get(args[-1])
    print(f"SMART overall-health self-assessment test result: {'PASSED' if node.smart_ok else 'FAILED!'}")
    return 0 if node.smart_ok else SMART_FAILING


def mdadm(_storage: Storage, args: list[str]) -> int:
    if "--assemble" in args:
        ASSEMBLED.touch()
    elif "--stop" in args:
        ASSEMBLED.unlink(missing_ok=True)
    else:
        raise StorageError(f"mdadm: {' '.join(args)}: not one of --assemble and --stop")
    return 0


def vgchange(_storage: Storage, args: list[str]) -> int:
    if "-ay" in args:
        ASSEMBLED.touch()
    return 0


def wipefs(storage: Storage, args: list[str]) -> int:
    for device in [a for a in args if not a.startswith("-")]:
        node = storage.get(device)
        if ASSEMBLED.exists() and node.fstype in (RAID_MEMBER, LVM_MEMBER) and storage.on(node.name):
            raise StorageError(f"wipefs: error: {device}: probing initialization failed: Device or resource busy")
        storage.clear(device)
    storage.save()
    return 0


def mount(storage: Storage, args: list[str]) -> int:
    """A file system of these disks; anything else is the real program's."""
    options, words = list[str](), list[str]()
    rest = iter(args)
    for arg in rest:
        if arg == "-o":
            options += next(rest, "").split(",")
        else:
            words.append(arg)
    if len(words) != 2 or not words[0].startswith("/dev/"):
        os.execv("/usr/bin/mount", ["mount", *args])  # noqa: S606 - no shell is meant
    node = storage.get(words[0])
    if not node.uuid or node.fstype == "swap":
        print(f"mount: {words[1]}: wrong fs type or bad superblock on {words[0]}", file=sys.stderr)
        return _MOUNT_FAILED
    attach(storage, node, Path(words[1]), read_only="ro" in options)
    return 0


def attach(storage: Storage, node: Node, at: Path, *, read_only: bool = False) -> None:
    data = storage.files(node)
    if node.image is None:
        real("mount", "--bind", str(data), str(at))
        if read_only:
            real("mount", "-o", "remount,bind,ro", str(at))
        return
    image = IMAGES / node.image
    layers = (
        f"lowerdir={data}:{image}" if read_only else f"lowerdir={image},upperdir={data},workdir={storage.work(node)}"
    )
    real("mount", "-t", "overlay", "-o", f"ro,{layers}" if read_only else layers, "overlay", str(at))


def real(program: str, *args: str) -> None:
    done = subprocess.run([f"/usr/bin/{program}", *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StorageError(f"{program}: {done.stderr.strip()}")


def nothing(_storage: Storage, _args: list[str]) -> int:
    """Done already, by what these disks are: there are no blocks to discard, no swap in use, no events to wait for."""
    return 0


def devices(storage: Storage, _args: list[str]) -> int:
    """At boot: each disk under /dev as a file of its size, without contents, and its stable names."""
    by_id = Path("/dev/disk/by-id")
    by_id.mkdir(parents=True, exist_ok=True)
    blocks = Path("/emulated/blocks")
    blocks.mkdir(exist_ok=True)
    for disk in storage.disks():
        with (blocks / disk.name).open("wb") as file:
            file.truncate(disk.bytes)
        (Path("/dev") / disk.name).symlink_to(blocks / disk.name)
        for ident in disk.ids:
            (by_id / ident).symlink_to(f"../../{disk.name}")
    return 0


TOOLS: dict[str, Callable[[Storage, list[str]], int]] = {
    "lsblk": lsblk,
    "smartctl": smartctl,
    "mdadm": mdadm,
    "vgchange": vgchange,
    "wipefs": wipefs,
    "mount": mount,
    "blkdiscard": nothing,
    "blockdev": nothing,
    "swapoff": nothing,
    "udevadm": nothing,
    "emulated-devices": devices,
}


def main(argv: list[str]) -> int:
    name = Path(argv[0]).name
    try:
        return TOOLS[name](Storage(DISKS), argv[1:])
    except StorageError as error:
        text = str(error)
        print(text if text.startswith(f"{name}:") else f"{name}: {text}", file=sys.stderr)
        return _USAGE
