"""A dedicated server's disks seen from outside: what boots from them, and a system put there beforehand."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from infra.emulator.dedicated import layout
from infra.emulator.dedicated.storage import Node, Storage
from infra.emulator.robot.autosetup import Autosetup, Partition
from infra.emulator.robot.model import Disk, System
from infra.keys import generate

RELEASE_FILE = "etc/baretick-release"


@dataclass(frozen=True)
class Bootable:
    image: str
    upper: Path
    work: Path
    # (folder, mount point) of the other file systems in its fstab.
    mounts: tuple[tuple[Path, str], ...]


def ensure(folder: Path, disks: list[Disk]) -> Storage:
    """The server's disks, empty at first; health is brought up to date."""
    storage = Storage(folder)
    for disk in disks:
        node = storage.nodes.setdefault(disk.name, Node(disk.name, "disk", disk.bytes))
        node.rotational, node.smart_ok, node.ids = disk.rotational, disk.smart_ok, [disk.by_id, disk.wwn]
        node.model = disk.by_id.partition("-")[2].partition("_S")[0]
    storage.save()
    return storage


def bootable(storage: Storage) -> Bootable | None:
    """What the boot loader starts; None where no disk has one."""
    if storage.boot is None:
        return None
    root = storage.get(storage.boot)
    table = storage.files(root) / "etc/fstab"
    if root.image is None or not table.is_file():
        return None
    mounts = []
    for line in table.read_text().splitlines():
        what, _, rest = line.partition(" ")
        node = storage.by_uuid(what.removeprefix("UUID="))
        if node and node is not root and node.fstype != "swap":
            mounts.append((storage.files(node), rest.split()[0]))
    return Bootable(root.image, storage.files(root), storage.work(root), tuple(mounts))


def system(storage: Storage) -> System | None:
    """The system that would boot, as its files say."""
    found = bootable(storage)
    if found is None:
        return None
    keys = sorted((found.upper / "etc/ssh").glob("ssh_host_*.pub"))
    users = _read(found.upper / "root/.ssh/authorized_keys")
    return System(
        hostname=_read(found.upper / "etc/hostname"),
        release="Debian GNU/Linux 13 (trixie)",
        install_id=_read(found.upper / RELEASE_FILE) or None,
        host_keys=[" ".join(_read(k).split()[:2]) for k in keys],
        authorized_keys=users.splitlines(),
    )


def _read(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""


def put(storage: Storage, wanted: System, address: layout.Address, image: str, tree: Path) -> None:
    """A system over the whole first disk, as one that was installed before: for servers that come with one."""
    setup = Autosetup(
        drives=[storage.disks()[0].name],
        hostname=wanted.hostname,
        image=image,
        partitions=[Partition("/", "ext4", None)],
    )
    devices = layout.cut(storage, setup)
    layout.unpack(storage, devices, image, tree)
    key = generate(wanted.hostname)
    layout.write(
        storage.files(devices["/"]),
        {
            **layout.files(wanted.hostname, address, devices, secrets.token_hex(16)),
            "etc/ssh/ssh_host_ed25519_key": key.private,
            "etc/ssh/ssh_host_ed25519_key.pub": key.public + "\n",
            "root/.ssh/authorized_keys": "".join(f"{k}\n" for k in wanted.authorized_keys),
            **({RELEASE_FILE: f"{wanted.install_id}\n"} if wanted.install_id else {}),
        },
    )
    storage.boot = devices["/"].name
    storage.save()
