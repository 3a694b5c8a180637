"""What installimage writes into a system beside the image's files, and how the disks are cut up for it.

Runs in the rescue system too: standard library alone.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from infra.emulator.dedicated.storage import MIB, Node, Storage, StorageError
from infra.emulator.robot.autosetup import Autosetup, LogicalVolume, Partition

FILE_SYSTEMS = {"esp": "vfat"}
# Before the base image's own file, which leaves interfaces of this kind of name to a cloud.
NETWORK_FILE = "etc/systemd/network/04-mainif.network"


@dataclass(frozen=True)
class Address:
    """A server's main address and its gateway, which is reached over the link though it is in no network of it."""

    ip: str
    gateway: str
    mac: str


def cut(storage: Storage, setup: Autosetup) -> dict[str, Node]:
    """Empty the drives and cut them up as the configuration says; the devices by mount point.

    Raises StorageError where they are too small, before the first of them is touched.
    """
    rehearsal = Storage(storage.folder / "nowhere")
    rehearsal.nodes = {n.name: Node(n.name, n.type, n.bytes) for n in storage.disks()}
    _devices(rehearsal, setup)
    for drive in setup.drives:
        storage.clear(drive)
    devices = _devices(storage, setup)
    for node, piece in devices.values():
        storage.format(node.name, FILE_SYSTEMS.get(piece.fs, piece.fs))
    return {mount: node for mount, (node, _) in devices.items()}


def _devices(storage: Storage, setup: Autosetup) -> dict[str, tuple[Node, Partition | LogicalVolume]]:
    devices: dict[str, tuple[Node, Partition | LogicalVolume]] = {}
    groups: dict[str, str] = {}
    for part in setup.partitions:
        pieces = [storage.partition(drive, _bytes(part.size)) for drive in setup.drives]
        node = pieces[0] if setup.raid is None else storage.array(setup.raid, [p.name for p in pieces])
        if part.mount == "lvm":
            groups[part.fs] = node.name
        else:
            devices[part.mount] = node, part
    for volume in setup.volumes:
        node = storage.volume(volume.vg, volume.name, groups[volume.vg], _bytes(volume.size))
        devices[volume.mount] = node, volume
    return devices


def _bytes(mib: int | None) -> int | None:
    return None if mib is None else mib * MIB


def unpack(storage: Storage, devices: dict[str, Node], image: str, tree: Path) -> None:
    """The image onto the file systems: `/` is a layer over it, what is mounted below gets its part as a copy."""
    if "/" not in devices:
        raise StorageError("nothing is mounted at /")
    devices["/"].image = image
    for mount, node in sorted(devices.items()):
        if mount.startswith("/") and mount != "/" and (tree / mount[1:]).is_dir():
            shutil.copytree(tree / mount[1:], storage.files(node), symlinks=True, dirs_exist_ok=True)


def fstab(devices: dict[str, Node]) -> str:
    lines = ["proc /proc proc defaults 0 0"]
    for mount, node in sorted(devices.items()):
        where, kind = ("none", "swap") if mount == "swap" else (mount, node.fstype)
        lines.append(f"UUID={node.uuid} {where} {kind} {'sw' if kind == 'swap' else 'defaults'} 0 0")
    return "\n".join(lines) + "\n"


def files(hostname: str, address: Address, devices: dict[str, Node], machine_id: str) -> dict[str, str]:
    """By path below `/`."""
    return {
        "etc/hostname": f"{hostname}\n",
        "etc/hosts": f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{address.ip} {hostname}\n",
        "etc/fstab": fstab(devices),
        "etc/machine-id": f"{machine_id}\n",
        # Nothing of a cloud is behind such a server.
        "etc/cloud/cloud-init.disabled": "",
        "etc/sysctl.d/99-hetzner.conf": "net.ipv4.conf.all.rp_filter=1\nnet.ipv6.conf.all.accept_ra=0\n",
        NETWORK_FILE: network(address),
        # The disk is not this kernel's: what fstab says of `/` is for the boot loader of the emulator.
        "etc/systemd/system/systemd-remount-fs.service.d/emulated.conf": "[Unit]\nConditionVirtualization=!container\n",
    }


def network(address: Address) -> str:
    """Every other host is reached through the gateway, those of the same subnet too."""
    return (
        f"[Match]\nMACAddress={address.mac}\n\n[Network]\nAddress={address.ip}/32\n\n"
        f"[Route]\nGateway={address.gateway}\nGatewayOnLink=yes\n"
    )


def write(root: Path, found: dict[str, str]) -> None:
    """Keys of hosts and lists of who may log in are their owner's alone."""
    for name, text in found.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if name.startswith("root/.ssh"):
            path.parent.chmod(0o700)
        if name.startswith("root/.ssh") or (name.startswith("etc/ssh/ssh_host_") and not name.endswith(".pub")):
            path.chmod(0o600)
