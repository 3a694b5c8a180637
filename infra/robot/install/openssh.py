"""Logins by the system's own ssh: keys pinned in a file of their own, nothing taken from the user's configuration."""

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from infra.robot.errors import RobotError
from infra.robot.install import scripts
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

Run = Callable[[list[str], str, float], "subprocess.CompletedProcess[str]"]

CONNECT_SECONDS, COMMAND_SECONDS, SLOW_SECONDS = 10, 60.0, 600.0
# The status of ssh itself; a command's own is any other.
SSH_FAILED = 255


class CommandFailed(RobotError):
    """A command ran on the host and failed."""


class OpenSsh:
    """Connects as root with the operator's key; `proxy_command` leads to hosts that are not reached directly."""

    def __init__(self, identity_file: Path, proxy_command: str | None = None, run: Run | None = None) -> None:
        self.identity_file = identity_file
        self.proxy_command = proxy_command
        self.run = run or _run

    def __call__(self, address: str, pins: Sequence[str]) -> "SshSession":
        return SshSession(self, address, pins)

    def argv(self, address: str, known_hosts: Path, *, pinned: bool) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(CONNECT_SECONDS),
            "GlobalKnownHostsFile": "/dev/null",
            "HashKnownHosts": "no",
            "HostKeyAlias": "host",
            "IdentitiesOnly": "yes",
            "IdentityFile": str(self.identity_file),
            "LogLevel": "ERROR",
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "6",
            # Unpinned, who answers first is kept for this session: a change within it is refused.
            "StrictHostKeyChecking": "yes" if pinned else "accept-new",
            "UpdateHostKeys": "no",
            "UserKnownHostsFile": str(known_hosts),
        }
        if self.proxy_command:
            options["ProxyCommand"] = self.proxy_command
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "/dev/null", "-T", *flags, "-l", "root", "--", address, "sh -s"]


class SshSession:
    def __init__(self, ssh: OpenSsh, address: str, pins: Sequence[str]) -> None:
        self._ssh = ssh
        self._address = address
        self._folder = tempfile.TemporaryDirectory(prefix="baretick-ssh-")
        self._known_hosts = Path(self._folder.name) / "known_hosts"
        self._known_hosts.write_text("".join(f"host {' '.join(pin.split()[:2])}\n" for pin in pins))
        self._pinned = bool(pins)
        said = _table(self._do(scripts.FACE))
        hostname = said.get("hostname", "")
        self.face = Face(
            system="rescue" if hostname == "rescue" else "disk",
            hostname=hostname,
            boot_id=said.get("boot_id", ""),
            host_keys=tuple(line.split(" ", 1)[1] for line in self._known_hosts.read_text().splitlines()),
            release=said.get("release", ""),
            install_id=said.get("install_id") or None,
        )

    def reboot(self) -> None:
        try:
            self._do(scripts.REBOOT)
        except (Silent, CommandFailed):
            # It went down before it had answered.
            return

    def hardware(self) -> FoundHardware:
        return read_hardware(self._do(scripts.HARDWARE))

    def failing(self, disks: Sequence[str]) -> list[str]:
        return [row[1] for row in _rows(self._do(scripts.health(list(disks)), SLOW_SECONDS)) if row[0] == "failing"]

    def found(self) -> list[FoundSystem]:
        return read_found(self._do(scripts.FOUND, SLOW_SECONDS))

    def wipe(self, disks: Sequence[str]) -> None:
        self._do(scripts.wipe(list(disks)), SLOW_SECONDS)

    def begin_install(self, job: InstallJob) -> None:
        self._do(scripts.begin(job.install_id, job.autosetup, " ".join(job.public_key.split())))

    def progress(self, install_id: str) -> Progress:
        return read_progress(self._do(scripts.progress(install_id)), install_id)

    def configure(self, files: Mapping[str, str]) -> None:
        self._do(scripts.configure(dict(files)), SLOW_SECONDS)

    def crosses(self, address: str, mtu: int) -> bool:
        try:
            self._do(scripts.crosses(address, mtu))
        except CommandFailed:
            return False
        return True

    def _do(self, script: str, seconds: float = COMMAND_SECONDS) -> str:
        argv = self._ssh.argv(self._address, self._known_hosts, pinned=self._pinned)
        result = self._ssh.run(argv, script, seconds)
        if result.returncode == 0:
            return result.stdout
        last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        if result.returncode != SSH_FAILED:
            raise CommandFailed(f"ssh {self._address}", f"a command failed with {result.returncode}: {last}")
        if "host key" in result.stderr.lower() or "IDENTIFICATION HAS CHANGED" in result.stderr:
            raise WrongKey(last)
        raise Denied(last) if "Permission denied" in result.stderr else Silent(last)


def _run(argv: list[str], script: str, seconds: float) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(argv, input=script, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, SSH_FAILED, "", f"no answer for {seconds:.0f} s")


def _rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines() if "\t" in line]


def _table(text: str) -> dict[str, str]:
    return {row[0]: row[1].strip() for row in _rows(text)}


def read_hardware(text: str) -> FoundHardware:
    rows, said = _rows(text), _table(text)
    ids: dict[str, list[str]] = {}
    for row in rows:
        if row[0] == "id":
            ids.setdefault(row[1], []).append(row[2].strip())
    return FoundHardware(
        disks=tuple(
            FoundDisk(row[1], tuple(sorted(set(ids.get(row[1], [])))), int(row[2]), row[3] == "1", row[4].strip())
            for row in rows
            if row[0] == "disk"
        ),
        cpus=int(said.get("cpus", "0")),
        memory_bytes=int(float(said.get("memory", "0"))),
        nic=said.get("nic", ""),
        nic_driver=said.get("driver", ""),
        uefi=said.get("uefi") == "1",
        network=_network(said.get("network")),
        network_file=said.get("network_file", ""),
        links=tuple(row[1].strip() for row in rows if row[0] == "link"),
    )


def _network(said: str | None) -> Literal["netplan", "ifupdown", "networkd"]:
    return "netplan" if said == "netplan" else "networkd" if said == "networkd" else "ifupdown"


def read_found(text: str) -> list[FoundSystem]:
    return [
        FoundSystem(
            what=row[1],
            disks=tuple(d for d in row[2].split(",") if d),
            install_id=row[3].strip() or None,
            host_keys=tuple(k for k in row[4].strip().split(",") if k),
        )
        for row in _rows(text)
        if row[0] == "found"
    ]


def read_progress(text: str, install_id: str) -> Progress:
    rows = _rows(text)
    said = _table(text)
    if said.get("state") == "none":
        return Progress("none")
    if said.get("state") == "running":
        return Progress("running")
    lines = [row[1] for row in rows if row[0] == "line"]
    log = " / ".join(row[1].strip() for row in rows if row[0] == "log")
    if said.get("exit") == "0" and f"{scripts.DONE} {install_id}" in lines:
        keys = tuple(line.removeprefix(f"{scripts.HOST_KEY} ") for line in lines if line.startswith(scripts.HOST_KEY))
        return Progress("done", keys, log)
    # It ended otherwise, or died without a word.
    return Progress("failed", log=log or f"installimage ended with {said.get('exit', 'no status')}")
