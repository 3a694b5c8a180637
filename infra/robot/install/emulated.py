"""Logins on dedicated servers of an emulator without machines behind: operations instead of a shell. For tests and
previews; whatever has a real system is reached over SSH."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import urllib3

from infra.robot.errors import RobotError
from infra.robot.install.ports import (
    Denied,
    Face,
    FoundDisk,
    FoundHardware,
    FoundSystem,
    InstallJob,
    Progress,
    Silent,
    WrongKey,
)

# Status and body of one operation on the server with that address.
Ask = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]]


class EmulatedSession:
    def __init__(self, ask: Ask, address: str, public_key: str, pins: Sequence[str]) -> None:
        self._ask = ask
        self._address = address
        self._key = public_key
        self._pins = {_bare(pin) for pin in pins}
        self.face: Face
        self._do("face")

    def reboot(self) -> None:
        self._do("reboot")

    def hardware(self) -> FoundHardware:
        found = self._do("hardware")
        disks = tuple(FoundDisk(d["name"], (d["by_id"], d["wwn"]), d["bytes"], d["rotational"]) for d in found["disks"])
        return FoundHardware(
            disks, found["cpus"], found["memory_bytes"], found["nic"], found["nic_driver"], found["uefi"]
        )

    def failing(self, disks: Sequence[str]) -> list[str]:
        return [str(line) for line in self._do("failing", disks=list(disks))["failing"]]

    def found(self) -> list[FoundSystem]:
        return [
            FoundSystem(s["what"], tuple(s["disks"]), s["install_id"], tuple(s["host_keys"]))
            for s in self._do("found")["found"]
        ]

    def wipe(self, disks: Sequence[str]) -> None:
        self._do("wipe", disks=list(disks))

    def begin_install(self, job: InstallJob) -> None:
        self._do("begin", install_id=job.install_id, autosetup=job.autosetup, public_key=job.public_key)

    def progress(self, install_id: str) -> Progress:
        said = self._do("progress", install_id=install_id)
        return Progress(said["state"], tuple(said.get("host_keys", ())), said.get("log", ""))

    def configure(self, files: Mapping[str, str]) -> None:
        self._do("configure", files=dict(files))

    def crosses(self, address: str, mtu: int) -> bool:
        return bool(self._do("crosses", address=address, mtu=mtu)["crosses"])

    def _do(self, op: str, **more: Any) -> dict[str, Any]:
        status, body = self._ask(self._address, {"op": op, "key": self._key, **more})
        error = body.get("error", {})
        if status == 503:
            raise Silent(error.get("message", ""))
        face = body["face"] if status < 400 else (error.get("details") or {}).get("face", {})
        # The host proves itself before the client does.
        if self._pins and face and not self._pins & {_bare(k) for k in face["host_keys"]}:
            raise WrongKey(f"{self._address} answers with another host key")
        if status == 401:
            raise Denied(error.get("message", ""))
        if status >= 400:
            raise RobotError(f"login {self._address}", f"{op}: {error.get('message', status)}")
        self.face = Face(
            face["system"],
            face["hostname"],
            face["boot_id"],
            tuple(face["host_keys"]),
            face["release"],
            face["install_id"],
        )
        result: dict[str, Any] = body["result"]
        return result


class EmulatedConnect:
    """Logins through the control routes of a running emulator, at its cloud API's port."""

    def __init__(self, base: str, public_key: str) -> None:
        self._base = base.rstrip("/")
        self._key = public_key
        self._pool = urllib3.PoolManager(retries=False, timeout=30.0)

    def __call__(self, address: str, pins: Sequence[str]) -> EmulatedSession:
        return EmulatedSession(self._ask, address, self._key, pins)

    def _ask(self, address: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            answer = self._pool.request("POST", f"{self._base}/_emulator/dedicated/{address}/login", json=body)
        except urllib3.exceptions.HTTPError as error:
            raise Silent(f"no emulator answers on {self._base} ({type(error).__name__})") from None
        return answer.status, answer.json()


def _bare(key: str) -> str:
    return " ".join(key.split()[:2])
