"""installimage of the rescue system: reads a configuration file, lays the system on the disks, makes them boot it.

`installimage -a -c <configuration> -x <post-install>`, as Hetzner's unattended form. Its log is /root/debug.txt.
Runs in the rescue system: standard library alone.
"""

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from infra.emulator.dedicated import layout, tools
from infra.emulator.dedicated.storage import Node, Storage, StorageError
from infra.emulator.robot.autosetup import Autosetup, AutosetupError, parse

LOG = Path("/root/debug.txt")
SERVER = Path("/emulated/server.json")
HDD = Path("/installimage/hdd")


class Failed(Exception):
    """Why nothing, or not all, was installed."""


def main(argv: list[str]) -> int:
    with LOG.open("a") as log:
        try:
            config, post_install = _arguments(argv[1:])
            _install(config, post_install, log)
        except (Failed, StorageError, AutosetupError) as error:
            _say(log, f"ERROR: {error}")
            _say(log, "Cancelled: the system was not installed")
            return 1
    return 0


def _say(log: TextIO, line: str) -> None:
    print(line, flush=True)
    log.write(line + "\n")
    log.flush()


def _arguments(args: list[str]) -> tuple[Path, Path | None]:
    automatic, files = False, dict[str, Path]()
    rest = iter(args)
    for arg in rest:
        if arg == "-a":
            automatic = True
        elif arg in ("-c", "-x"):
            files[arg] = Path(next(rest, ""))
        else:
            raise Failed(f"illegal option {arg}: -a, -c <file> and -x <file> are what there is here")
    if not automatic or "-c" not in files:
        raise Failed("there is no terminal to ask on: -a and -c <file> are needed")
    for file in files.values():
        if not file.is_file():
            raise Failed(f"there is no file {file}")
    return files["-c"], files.get("-x")


def _install(config: Path, post_install: Path | None, log: TextIO) -> None:
    setup = parse(config.read_text())
    storage = Storage(tools.DISKS)
    tree = _image(setup)
    server = json.loads(SERVER.read_text())
    _check(setup, storage, uefi=Path("/sys/firmware/efi").is_dir())
    _say(log, f"Deleting partitions on {', '.join(setup.drives)}")
    tools.ASSEMBLED.unlink(missing_ok=True)
    devices = layout.cut(storage, setup)
    storage.save()
    _say(log, f"Extracting image {setup.image}")
    layout.unpack(storage, devices, str(tree.relative_to(tools.IMAGES)), tree)
    storage.save()
    address = layout.Address(server["ip"], server["gateway"], server["mac"])
    with _mounted(storage, devices):
        _say(log, "Setting up network, host name, fstab and keys")
        layout.write(HDD, layout.files(setup.hostname, address, devices, secrets.token_hex(16)))
        keys = Path("/root/.ssh/authorized_keys")
        if keys.is_file():
            layout.write(HDD, {"root/.ssh/authorized_keys": keys.read_text()})
        for old in (HDD / "etc/ssh").glob("ssh_host_*"):
            old.unlink()
        host_key = ["-t", "ed25519", "-N", "", "-C", setup.hostname, "-f", "/etc/ssh/ssh_host_ed25519_key"]
        _run(["ssh-keygen", "-q", *host_key], log)
        _say(log, f"Installing the boot loader {setup.bootloader}")
        storage.boot = devices["/"].name
        storage.save()
        if post_install:
            _say(log, f"Executing {post_install}")
            shutil.copy(post_install, HDD / "post-install")
            (HDD / "post-install").chmod(0o700)
            try:
                _run(["/post-install"], log)
            finally:
                (HDD / "post-install").unlink()
    _say(log, "INSTALLATION COMPLETE")


def _image(setup: Autosetup) -> Path:
    """The tree that an image's file stands for."""
    if not Path(setup.image).is_file():
        known = sorted(str(p) for p in Path("/root/.oldroot/nfs/images").iterdir())
        raise Failed(f"there is no image {setup.image}; there are {', '.join(known)}")
    match = re.match(r"emulated image (\S+)", Path(setup.image).read_text(errors="replace"))
    if match is None:
        raise Failed(f"{setup.image} is no image of this rescue system's")
    return tools.IMAGES / match[1]


def _check(setup: Autosetup, storage: Storage, *, uefi: bool) -> None:
    disks = [d.name for d in storage.disks()]
    if absent := [d for d in setup.drives if d not in disks]:
        raise Failed(f"there is no drive {absent[0]}; there are {', '.join(disks)}")
    if setup.bootloader != "grub":
        raise Failed(f"no boot loader {setup.bootloader!r}: grub is what there is")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", setup.hostname):
        raise Failed(f"no valid host name: {setup.hostname!r}")
    esp = [p for p in setup.partitions if p.mount == "/boot/efi"]
    if uefi and not esp:
        raise Failed("this server boots by UEFI: a partition /boot/efi is needed")
    root = next((p for p in setup.partitions if p.mount == "/"), None)
    if (root is None or setup.raid not in (None, 1)) and all(p.mount != "/boot" for p in setup.partitions):
        raise Failed("the boot loader cannot read /: a partition /boot is needed")


@contextmanager
def _mounted(storage: Storage, devices: dict[str, Node]) -> Iterator[None]:
    mounted: list[Path] = []
    try:
        for mount, node in sorted(devices.items()):
            if mount.startswith("/"):
                at = HDD / mount[1:]
                at.mkdir(parents=True, exist_ok=True)
                tools.attach(storage, node, at)
                mounted.append(at)
        for name in ("dev", "proc", "sys"):
            tools.real("mount", "--bind", f"/{name}", str(HDD / name))
            mounted.append(HDD / name)
        yield
    finally:
        for at in reversed(mounted):
            tools.real("umount", str(at))


def _run(argv: list[str], log: TextIO) -> None:
    """In the new system."""
    done = subprocess.run(
        ["/usr/sbin/chroot", str(HDD), *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    for line in (done.stdout + done.stderr).splitlines():
        _say(log, line)
    if done.returncode != 0:
        raise Failed(f"{argv[0]} failed with {done.returncode}")
