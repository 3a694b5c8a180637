"""One process beside each machine: boots it, wires it, boots it again when it reboots. Stands alone: stdlib only.

Usage: launcher.py <machine folder>. Reads `machine.json` there at every boot and on SIGHUP (what to run, which
interfaces), writes `status.json`. SIGTERM powers the host off in good order. It belongs to no daemon, so machines
outlive the emulator's restarts; it dies with its machine, and the machine with it.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REBOOT = 133  # systemd-nspawn's exit status for "the host asked to be booted again"
WAITED = {signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM}
INIT_SECONDS = 60.0
PR_SET_PDEATHSIG = 1


class Launcher:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec: dict[str, Any] = {}
        self.boots = 0
        self.stopping = False
        self.init: int | None = None
        self.nspawn: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)
        self.load()
        self._enter()
        while True:
            code = self._boot()
            # What comes next on a dedicated server is the emulator's to say: it starts a launcher anew.
            if code != REBOOT or self.stopping or not self.spec["reboots"]:
                break
            self.load()
        self.report("exited", code=code)
        return 0 if code in (0, REBOOT) else 1

    def load(self) -> None:
        self.spec = json.loads((self.folder / "machine.json").read_text())

    def report(self, state: str, error: str | None = None, code: int | None = None) -> None:
        status = {
            "state": state,
            "pid": self.nspawn.pid if self.nspawn else None,
            "init": self.init,
            "boots": self.boots,
            "generation": self.spec["generation"],
            "error": error,
            "code": code,
        }
        scratch = self.folder / "status.new"
        scratch.write_text(json.dumps(status))
        scratch.replace(self.folder / "status.json")

    def _enter(self) -> None:
        """Into the machine's cgroup and the instance's network, with mounts that vanish with this process."""
        cgroup = Path(self.spec["cgroup"])
        for part in ("launcher", "host"):
            (cgroup / part).mkdir(parents=True, exist_ok=True)
        (cgroup / "launcher" / "cgroup.procs").write_text(str(os.getpid()))
        with Path(self.spec["netns"]).open() as file:
            os.setns(file.fileno(), os.CLONE_NEWNET)
        os.unshare(os.CLONE_NEWNS)
        sh("mount", "--make-rprivate", "/")
        disk = self.spec["disk"]
        layers = f"lowerdir={disk['base']},upperdir={disk['upper']},workdir={disk['work']}"
        sh("mount", "-t", "overlay", "overlay", "-o", layers, str(self.folder / "root"))

    def _boot(self) -> int:
        self.boots += 1
        self.init = None
        child = self.nspawn = subprocess.Popen(
            self.spec["argv"], stdin=subprocess.DEVNULL, preexec_fn=self._in_child, env=self.spec["env"]
        )
        self.report("booting")
        deadline = time.monotonic() + INIT_SECONDS
        while True:
            # Look often until init is there, then only when something happens.
            got = signal.sigtimedwait(WAITED, 0.02 if self.init is None else 3600)
            if child.poll() is not None:
                return child.returncode
            if got and got.si_signo == signal.SIGTERM:
                self.stopping = True
                child.send_signal(signal.SIGTERM)
            if got and got.si_signo == signal.SIGHUP:
                self.load()
            if self.init is None:
                self.init = init_of(child.pid)
                if self.init is None:
                    if time.monotonic() > deadline:
                        child.kill()
                    continue
                self._wire()
            elif got and got.si_signo == signal.SIGHUP:
                self._wire()

    def _in_child(self) -> None:
        """In the child before it becomes systemd-nspawn: its own group, its signals, and no life after the launcher."""
        (Path(self.spec["cgroup"]) / "host" / "cgroup.procs").write_text(str(os.getpid()))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITED)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def _wire(self) -> None:
        try:
            wire(int(self.init or 0), self.spec["interfaces"])
        except subprocess.CalledProcessError as error:
            self.report("running", error=f"{' '.join(error.cmd)}: {error.stderr.decode().strip()}")
        else:
            self.report("running")


def init_of(nspawn: int) -> int | None:
    """The host's init: the child of nspawn that is process 1 of a namespace, once it has a network of its own."""
    for child in children(nspawn):
        try:
            status = Path(f"/proc/{child}/status").read_text()
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            own_network = Path(f"/proc/{child}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        except (FileNotFoundError, ProcessLookupError, StopIteration):
            continue
        if len(numbers) > 1 and numbers[-1] == "1" and own_network:
            return child
    return None


def children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def wire(init: int, interfaces: list[dict[str, Any]]) -> None:
    """Bring the host's interfaces in line: add what is missing, take what is no longer wanted, set addresses."""
    inside = ["nsenter", f"--net=/proc/{init}/ns/net", "ip"]
    listed = json.loads(sh(*inside, "-json", "address", "show"))
    have = {link["ifname"]: link for link in listed if link.get("ifname")}
    wanted = {i["name"] for i in interfaces}
    for name in have:
        if name.startswith(("enp", "vlan")) and name not in wanted:
            sh(*inside, "link", "del", name)
    for interface in interfaces:
        name, outer = interface["name"], interface["outer"]
        known = have.get(name)
        if known and known["address"] != interface["mac"]:
            sh(*inside, "link", "del", name)
            known = None
        if not known:
            # The other end may be left from a machine that was killed: the kernel removes it only after a while.
            subprocess.run(["ip", "link", "del", outer], capture_output=True, check=False)
            peer = ["peer", "name", name, "address", interface["mac"], "mtu", interface["mtu"], "netns", str(init)]
            sh("ip", "link", "add", outer, "mtu", interface["mtu"], "type", "veth", *peer)
        sh("ip", "link", "set", outer, "master", interface["bridge"], "up")
        if interface["isolated"]:
            sh("ip", "link", "set", outer, "type", "bridge_slave", "isolated", "on")
        if not interface["managed"]:
            continue  # its addresses are the host's own business
        sh(*inside, "link", "set", name, "up")
        infos = known["addr_info"] if known else []
        now = {f"{a['local']}/{a['prefixlen']}" for a in infos if a["family"] == "inet"}
        for address in now - set(interface["addresses"]):
            sh(*inside, "address", "del", address, "dev", name)
        for address in interface["addresses"]:
            if address not in now:
                sh(*inside, "address", "add", address, "dev", name)


def sh(*argv: str) -> bytes:
    return subprocess.run(argv, check=True, capture_output=True).stdout


if __name__ == "__main__":
    sys.exit(Launcher(Path(sys.argv[1])).run())
