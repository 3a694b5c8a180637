"""A login on a machine that is nothing but its state: what a person would see and do over SSH, asked as operations.

Real machines are reached over real SSH; these answer `POST /_emulator/dedicated/{number}/login` with
`{"op": …, "key": "<public key>"}`. 503 is a port that nothing answers on, 401 a key that is not let in.
"""

from collections.abc import Callable
from typing import Any

from infra.emulator.errors import ApiError
from infra.emulator.robot.account import Account
from infra.emulator.robot.autosetup import AutosetupError, parse
from infra.emulator.robot.machine import SshFace
from infra.emulator.robot.model import DedicatedServer
from infra.emulator.robot.state_only import StateOnlyMachine

Op = Callable[[Account, DedicatedServer, StateOnlyMachine, dict[str, Any]], dict[str, Any]]


def answer(account: Account, server: DedicatedServer, body: dict[str, Any]) -> dict[str, Any]:
    machine = account.machine(server)
    if not isinstance(machine, StateOnlyMachine):
        raise ApiError("invalid_input", "there is a machine behind this server: log in over SSH")
    face = machine.ssh()
    if face is None:
        raise ApiError("unavailable", "connect: no route to host")
    key = " ".join(str(body.get("key", "")).split()[:2])
    seen = _face(server, face)
    if key not in [" ".join(k.split()[:2]) for k in face.authorized_keys]:
        raise ApiError("unauthorized", "Permission denied (publickey)", {"face": {"host_keys": seen["host_keys"]}})
    op = str(body.get("op"))
    if op not in _OPS:
        raise ApiError("invalid_input", f"unknown operation {op!r}")
    return {"face": seen, "result": _OPS[op](account, server, machine, body)}


def _face(server: DedicatedServer, face: SshFace) -> dict[str, Any]:
    system = server.machine.installed if face.system == "disk" else None
    return {
        "system": face.system,
        "hostname": face.hostname,
        "boot_id": face.boot_id,
        "host_keys": list(face.host_keys),
        "release": system.release if system else "rescue",
        "install_id": system.install_id if system else None,
    }


def _nothing(*_: Any) -> dict[str, Any]:
    return {}


def _reboot(_a: Account, _s: DedicatedServer, machine: StateOnlyMachine, _b: dict[str, Any]) -> dict[str, Any]:
    machine.boot()
    return {}


def _hardware(_a: Account, server: DedicatedServer, _m: StateOnlyMachine, _b: dict[str, Any]) -> dict[str, Any]:
    return server.hardware.model_dump()


def _failing(_a: Account, _s: DedicatedServer, machine: StateOnlyMachine, body: dict[str, Any]) -> dict[str, Any]:
    wanted = body.get("disks") or []
    return {"failing": [f"{d.name}: SMART says FAILED" for d in machine.disks() if d.name in wanted and not d.smart_ok]}


def _found(_a: Account, server: DedicatedServer, machine: StateOnlyMachine, _b: dict[str, Any]) -> dict[str, Any]:
    machine.installation()
    system = server.machine.installed
    if system is None:
        return {"found": []}
    ours = {"install_id": system.install_id, "host_keys": system.host_keys if system.install_id else []}
    what = f"{system.release} ({system.hostname})"
    return {"found": [{"what": what, "disks": [d.name for d in server.hardware.disks], **ours}]}


def _wipe(_a: Account, _s: DedicatedServer, machine: StateOnlyMachine, _b: dict[str, Any]) -> dict[str, Any]:
    machine.wipe()
    return {}


def _begin(_a: Account, server: DedicatedServer, machine: StateOnlyMachine, body: dict[str, Any]) -> dict[str, Any]:
    if server.machine.running != "rescue":
        raise ApiError("conflict", "installimage is part of the rescue system, and that does not run")
    try:
        setup = parse(str(body["autosetup"]))
    except (AutosetupError, KeyError) as error:
        raise ApiError("invalid_input", f"installimage: {error}") from None
    absent = [d for d in setup.drives if d not in [disk.name for disk in server.hardware.disks]]
    if absent:
        raise ApiError("invalid_input", f"installimage: no drive {absent[0]}")
    release = setup.image.rpartition("/")[2].partition("-base")[0]
    machine.begin_install(
        str(body["install_id"]), str(body["autosetup"]), setup.hostname, release, [str(body["public_key"])]
    )
    return {}


def _progress(_a: Account, _s: DedicatedServer, machine: StateOnlyMachine, body: dict[str, Any]) -> dict[str, Any]:
    job = machine.installation()
    if job is None or job.install_id != body.get("install_id"):
        return {"state": "none"}
    if job.failed:
        return {"state": "failed", "log": job.failed}
    done = machine.installed(job)
    return {"state": "done", "host_keys": job.system.host_keys} if done else {"state": "running"}


def _crosses(account: Account, server: DedicatedServer, _m: StateOnlyMachine, body: dict[str, Any]) -> dict[str, Any]:
    """On the same vSwitch as another server that is up, which is all that state can say of an address."""
    together = {
        m.server_number
        for v in account.db.vswitches.values()
        if any(m.server_number == server.number for m in v.members)
        for m in v.members
    }
    others = [account.db.servers[n] for n in together if n != server.number]
    return {"crosses": int(body.get("mtu", 0)) <= 1400 and any(o.machine.running == "disk" for o in others)}


_OPS: dict[str, Op] = {
    "face": _nothing,
    "reboot": _reboot,
    "hardware": _hardware,
    "failing": _failing,
    "found": _found,
    "wipe": _wipe,
    "begin": _begin,
    "progress": _progress,
    "configure": _nothing,
    "crosses": _crosses,
}
