"""The network namespace of an instance: bridges with the gateways' addresses. The root namespace gains nothing."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

from infra.emulator.addresses import PUBLIC_GATEWAY, PUBLIC_RANGE
from infra.emulator.errors import EmulatorError
from infra.emulator.machines.base import PrivateNetwork
from infra.emulator.process import ProcessRef

PUBLIC_BRIDGE = "br0"
# Every private interface of Hetzner's has this; a packet that fits here fits there.
PRIVATE_MTU = 1450


def namespace(name: str) -> str:
    return f"bt-{name}"


def namespace_path(name: str) -> Path:
    return Path("/run/netns") / namespace(name)


def run(*argv: str, check: bool = True) -> str:
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if check and result.returncode != 0:
        raise EmulatorError(f"`{' '.join(argv)}` failed: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def ensure(name: str) -> None:
    """The namespace with its public bridge; what is there already is left as it is."""
    if not namespace_path(name).exists():
        run("ip", "netns", "add", namespace(name))
    run("ip", "-n", namespace(name), "link", "set", "lo", "up")
    _ensure_bridge(name, PUBLIC_BRIDGE, f"{PUBLIC_GATEWAY}/{PUBLIC_RANGE.prefixlen}", mtu=1500)


def set_private(name: str, networks: list[PrivateNetwork]) -> None:
    """Exactly these private bridges."""
    wanted = {n.bridge for n in networks}
    for bridge in _bridges(name) - wanted - {PUBLIC_BRIDGE}:
        run("ip", "-n", namespace(name), "link", "del", bridge)
    for network in networks:
        _ensure_bridge(name, network.bridge, network.gateway, mtu=PRIVATE_MTU)


def _bridges(name: str) -> set[str]:
    links = json.loads(run("ip", "-n", namespace(name), "-json", "link", "show", "type", "bridge") or "[]")
    return {link["ifname"] for link in links if link.get("ifname")}


def _ensure_bridge(name: str, bridge: str, address: str, mtu: int) -> None:
    ns = namespace(name)
    if bridge not in _bridges(name):
        run("ip", "-n", ns, "link", "add", bridge, "mtu", str(mtu), "type", "bridge")
    have = json.loads(run("ip", "-n", ns, "-json", "-4", "address", "show", "dev", bridge) or "[]")
    addresses = {f"{a['local']}/{a['prefixlen']}" for link in have for a in link.get("addr_info", [])}
    for stale in addresses - {address}:
        run("ip", "-n", ns, "address", "del", stale, "dev", bridge)
    if address not in addresses:
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
