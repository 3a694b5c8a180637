"""The rescue system: the base image with a layer that is new at every boot, and the tools for the server's disks."""

import inspect
import json
import secrets
import shutil
from pathlib import Path
from types import ModuleType

from infra.emulator.dedicated import installimage, layout, storage, tools
from infra.emulator.robot import autosetup
from infra.keys import generate

LIBRARY = "usr/local/lib/emulated"
INSTALLIMAGE = "root/.oldroot/nfs/install/installimage"
IMAGE_FILE = "root/.oldroot/nfs/images/Debian-1300-trixie-amd64-base.tar.gz"
# Hetzner's rescue system has the old names of interfaces.
NIC = "eth0"
_MODULES: tuple[ModuleType, ...] = (storage, layout, tools, installimage, autosetup)
_PACKAGES = ("infra", "infra/emulator", "infra/emulator/dedicated", "infra/emulator/robot")
_RUN = """#!/usr/bin/python3 -IS
import sys

sys.path.insert(0, "/{library}")
from infra.emulator.dedicated.{module} import main

sys.exit(main(sys.argv))
"""
_UNIT = """[Unit]
Description=Disks of the emulated server under /dev
Before=ssh.service

[Service]
Type=oneshot
ExecStart=/usr/local/bin/emulated-devices
"""


def prepare(home: Path, address: layout.Address, authorized_keys: tuple[str, ...], image: str) -> str:
    """A fresh layer in `home`; returns the host key that this boot will prove itself by, in OpenSSH's form."""
    for part in ("upper", "work"):
        shutil.rmtree(home / part, ignore_errors=True)
        (home / part).mkdir(parents=True)
    upper = home / "upper"
    upper.chmod(0o755)
    key = generate("rescue")
    layout.write(
        upper,
        {
            "etc/hostname": "rescue\n",
            "etc/hosts": "127.0.0.1 localhost rescue\n",
            "etc/machine-id": secrets.token_hex(16) + "\n",
            "etc/cloud/cloud-init.disabled": "",
            layout.NETWORK_FILE: layout.network(address),
            "etc/ssh/ssh_host_ed25519_key": key.private,
            "etc/ssh/ssh_host_ed25519_key.pub": key.public + "\n",
            "root/.ssh/authorized_keys": "".join(f"{k}\n" for k in authorized_keys),
            "emulated/server.json": json.dumps({"ip": address.ip, "gateway": address.gateway, "mac": address.mac}),
            IMAGE_FILE: f"emulated image {image}\n",
            "etc/systemd/system/emulated-devices.service": _UNIT,
            f"{LIBRARY}/tool": _RUN.format(library=LIBRARY, module="tools"),
            INSTALLIMAGE: _RUN.format(library=LIBRARY, module="installimage"),
            **{f"{LIBRARY}/{package}/__init__.py": "" for package in _PACKAGES},
            **{f"{LIBRARY}/{m.__name__.replace('.', '/')}.py": inspect.getsource(m) for m in _MODULES},
        },
    )
    for program in (f"{LIBRARY}/tool", INSTALLIMAGE):
        (upper / program).chmod(0o755)
    binaries = upper / "usr/local/bin"
    binaries.mkdir(parents=True)
    for name in tools.TOOLS:
        (binaries / name).symlink_to(f"/{LIBRARY}/tool")
    wants = upper / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "emulated-devices.service").symlink_to("/etc/systemd/system/emulated-devices.service")
    return " ".join(key.public.split()[:2])
