"""The network namespace of an instance: bridges with the gateways' addresses. The root namespace gains nothing."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

from infra.emulator.addresses import PUBLIC_GATEWAY, PUBLIC_RANGE
from infra.emulator.errors import EmulatorError
from infra.emulator.machines.base import PrivateNetwork
from infra.emulator.process import ProcessRef

PUBLIC_BRIDGE = "br0"
# Bridges of cloud networks are named so, and the network's id.
PRIVATE_PREFIX = "net"
# Every private interface of Hetzner's has this; a packet that fits here fits there.
PRIVATE_MTU = 1450


def namespace(name: str) -> str:
    return f"bt-{name}"


def namespace_path(name: str) -> Path:
    return Path("/run/netns") / namespace(name)


def inside(name: str, *argv: str, text: str | None = None) -> str:
    """Run in the instance's namespace."""
    return run("nsenter", f"--net={namespace_path(name)}", *argv, text=text)


def run(*argv: str, check: bool = True, text: str | None = None) -> str:
    result = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if check and result.returncode != 0:
        raise EmulatorError(f"`{' '.join(argv)}` failed: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def ensure(name: str, public: Iterable[str] | None = None) -> None:
    """The namespace with its public bridge; beside the cloud's gateway those of `public`, or those that are there."""
    if not namespace_path(name).exists():
        run("ip", "netns", "add", namespace(name))
    run("ip", "-n", namespace(name), "link", "set", "lo", "up")
    cloud = f"{PUBLIC_GATEWAY}/{PUBLIC_RANGE.prefixlen}"
    _ensure_bridge(name, PUBLIC_BRIDGE, {cloud, *(public or ())}, mtu=1500, others=public is None)


def set_private(name: str, networks: list[PrivateNetwork]) -> None:
    """Exactly these private bridges."""
    set_bridges(name, PRIVATE_PREFIX, {n.bridge: n.gateway for n in networks}, PRIVATE_MTU)


def set_bridges(name: str, prefix: str, wanted: dict[str, str | None], mtu: int) -> None:
    """Exactly these bridges with that prefix; the gateway's address on each that has one."""
    for bridge in bridges(name):
        if bridge.startswith(prefix) and bridge not in wanted:
            run("ip", "-n", namespace(name), "link", "del", bridge)
    for bridge, gateway in wanted.items():
        _ensure_bridge(name, bridge, {gateway} if gateway else set(), mtu)


def bridges(name: str) -> set[str]:
    links = json.loads(run("ip", "-n", namespace(name), "-json", "link", "show", "type", "bridge") or "[]")
    return {link["ifname"] for link in links if link.get("ifname")}


def _ensure_bridge(name: str, bridge: str, addresses: set[str], mtu: int, *, others: bool = False) -> None:
    """With these addresses, each with its prefix, and no `others` unless they may stay."""
    ns = namespace(name)
    if bridge not in bridges(name):
        run("ip", "-n", ns, "link", "add", bridge, "mtu", str(mtu), "type", "bridge")
    listed = json.loads(run("ip", "-n", ns, "-json", "-4", "address", "show", "dev", bridge) or "[]")
    have = {f"{a['local']}/{a['prefixlen']}" for link in listed for a in link.get("addr_info", [])}
    for stale in set() if others else have - addresses:
        run("ip", "-n", ns, "address", "del", stale, "dev", bridge)
    for address in sorted(addresses - have):
        run("ip", "-n", ns, "address", "add", address, "dev", bridge)
    run("ip", "-n", ns, "link", "set", bridge, "up")


def remove(name: str) -> None:
    """Remove the namespace, and the mount that `ip netns` made for the first one of all, where ours was the last."""
    if namespace_path(name).exists():
        # Ways into hosts that are gone (ssh's shared connections) would keep the namespace alive without a name.
        pids = map(int, run("ip", "netns", "pids", namespace(name)).split())
        inside = [ref for pid in pids if (ref := ProcessRef.of(pid))]
        for ref in inside:
            ref.kill(signal.SIGKILL)
        for ref in inside:
            ref.wait(5)
        run("ip", "netns", "del", namespace(name))
    folder = namespace_path(name).parent
    if folder.is_dir() and not any(folder.iterdir()) and shutil.which("umount"):
        subprocess.run(["umount", str(folder)], capture_output=True, check=False)
