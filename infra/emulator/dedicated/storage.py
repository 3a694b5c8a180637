"""Disks without blocks: partitions, arrays, volumes and file systems as a graph, each file system a directory tree.

A system that was laid from an image is a layer over that image's tree, so an installation costs what it changes.
Runs in the rescue system too: standard library alone.
"""

import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE_SYSTEMS = ("ext3", "ext4", "xfs", "btrfs", "vfat")
RAID_MEMBER, LVM_MEMBER = "linux_raid_member", "LVM2_member"
MIB = 2**20
# What a partition table and its copy at the end take.
TABLE_BYTES = 2 * MIB


class StorageError(Exception):
    """What cannot be done to these disks, in the words of the tool that was asked."""


@dataclass
class Node:
    """A block device: a disk, a partition, an array or a logical volume."""

    name: str
    # disk, part, raid0 … raid10, lvm: as lsblk calls them.
    type: str
    bytes: int
    parents: list[str] = field(default_factory=list)
    fstype: str = ""
    # The file system's UUID, and the name of the folder that holds its files.
    uuid: str = ""
    # Of a system that was laid from an image: which.
    image: str | None = None
    rotational: bool = False
    model: str = ""
    ids: list[str] = field(default_factory=list)
    smart_ok: bool = True


class Storage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: dict[str, Node] = {}
        # Where the boot loader finds its system: the device that is mounted at `/`.
        self.boot: str | None = None
        self.load()

    def load(self) -> None:
        try:
            said = json.loads((self.folder / "layout.json").read_text())
        except FileNotFoundError:
            return
        self.nodes = {n["name"]: Node(**n) for n in said["nodes"]}
        self.boot = said["boot"]

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = self.folder / "layout.new"
        text = json.dumps({"nodes": [asdict(n) for n in self.nodes.values()], "boot": self.boot}, indent=1)
        with scratch.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.folder / "layout.json")

    def get(self, name: str) -> Node:
        name = name.removeprefix("/dev/").removeprefix("mapper/")
        if name not in self.nodes:
            raise StorageError(f"/dev/{name}: No such file or directory")
        return self.nodes[name]

    def disks(self) -> list[Node]:
        return [n for n in self.nodes.values() if n.type == "disk"]

    def on(self, name: str) -> list[Node]:
        """What lies directly on a device."""
        return [n for n in self.nodes.values() if name in n.parents]

    def disks_under(self, name: str) -> list[str]:
        node = self.get(name)
        if node.type == "disk":
            return [node.name]
        return sorted({disk for parent in node.parents for disk in self.disks_under(parent)})

    def by_uuid(self, uuid: str) -> Node | None:
        return next((n for n in self.nodes.values() if n.uuid == uuid), None)

    def files(self, node: Node) -> Path:
        """The files of a file system: all of them, or what it has beside and instead of its image's."""
        return self.folder / "files" / node.uuid / "data"

    def work(self, node: Node) -> Path:
        return self.folder / "files" / node.uuid / "work"

    def partition(self, disk: str, size: int | None) -> Node:
        """A further partition; `size` in bytes, None for all that is left."""
        node, parts = self.get(disk), self.on(disk)
        left = node.bytes - TABLE_BYTES - sum(p.bytes for p in parts)
        size = left if size is None else size
        if size <= 0 or size > left:
            raise StorageError(f"/dev/{disk} has {left // MIB} MiB left, and {size // MIB} MiB are wanted")
        name = f"{disk}{'p' if disk[-1].isdigit() else ''}{len(parts) + 1}"
        return self._add(Node(name, "part", size, [disk]))

    def array(self, level: int, members: list[str]) -> Node:
        sizes = [self.get(m).bytes for m in members]
        for member in members:
            self.get(member).fstype = RAID_MEMBER
        data = {0: len(members), 1: 1, 5: len(members) - 1, 6: len(members) - 2, 10: len(members) // 2}[level]
        number = next(n for n in range(len(self.nodes) + 1) if f"md{n}" not in self.nodes)
        return self._add(Node(f"md{number}", f"raid{level}", min(sizes) * data, list(members)))

    def volume(self, group: str, name: str, holder: str, size: int | None) -> Node:
        """A logical volume of the group that lies on `holder`."""
        node = self.get(holder)
        node.fstype = LVM_MEMBER
        left = node.bytes - sum(v.bytes for v in self.on(holder))
        size = left if size is None else size
        if size <= 0 or size > left:
            raise StorageError(f"volume group {group} has {left // MIB} MiB left, and {size // MIB} MiB are wanted")
        return self._add(Node(f"{group.replace('-', '--')}-{name.replace('-', '--')}", "lvm", size, [holder]))

    def _add(self, node: Node) -> Node:
        self.nodes[node.name] = node
        return node

    def format(self, name: str, fstype: str) -> Node:
        """A new, empty file system (or swap) on a device."""
        node = self.get(name)
        if fstype != "swap" and fstype not in FILE_SYSTEMS:
            raise StorageError(f"mkfs: there is no file system {fstype!r}")
        self._forget(node)
        node.fstype, node.uuid = fstype, _uuid()
        if fstype != "swap":
            for part in (self.files(node), self.work(node)):
                part.mkdir(parents=True)
            self.files(node).chmod(0o755)
        return node

    def clear(self, name: str) -> None:
        """Remove the signature of a device, and with it all that lies on it."""
        node = self.get(name)
        for above in self.on(node.name):
            self.clear(above.name)
            self.nodes.pop(above.name, None)
        self._forget(node)

    def _forget(self, node: Node) -> None:
        if node.uuid:
            shutil.rmtree(self.folder / "files" / node.uuid, ignore_errors=True)
        if self.boot == node.name:
            self.boot = None
        node.fstype, node.uuid, node.image = "", "", None


def _uuid() -> str:
    text = secrets.token_hex(16)
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
