"""A throw-away network with a few hosts, for molecule and by hand: made through the API like any other site's.

`lab up` pins the host keys it generates, writes an ssh_config that leads into the lab, and prints where all of it is.
"""

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from infra.emulator import control
from infra.emulator.client import Client
from infra.emulator.errors import EmulatorError
from infra.emulator.gateway import free_port
from infra.emulator.instance import Instance
from infra.emulator.machines import network
from infra.emulator.process import read_ref

SERVER_TYPE, IMAGE, LOCATION = "cx33", "debian-13", "fsn1"
SSH_SECONDS = 120.0


@dataclass(frozen=True)
class LabHost:
    name: str
    ip: IPv4Address


def add_parser(verbs: Any, shared: argparse.ArgumentParser) -> None:
    """`lab up` and `lab down`, beside the other verbs."""
    top = verbs.add_parser("lab", help="a network with a few hosts, for molecule and by hand")
    parts = top.add_subparsers(dest="part", required=True)
    up = parts.add_parser("up", parents=[shared], help="make it and wait for ssh; prints JSON")
    up.add_argument("--hosts", required=True, type=parse_hosts, help="a=10.77.1.11,b=10.77.1.12")
    up.add_argument("--network", type=IPv4Network, help="the network's range (default: the /16 of the first host)")
    up.add_argument("--ssh-key", type=Path, help="public key to let in (default: one made for the lab)")
    up.add_argument("--port", type=int, help="API port on loopback (default: a free one)")
    parts.add_parser("down", parents=[shared], help="remove hosts, disks and emulator")


def parse_hosts(text: str) -> list[LabHost]:
    hosts = []
    for part in text.split(","):
        name, _, ip = part.partition("=")
        try:
            hosts.append(LabHost(name.strip(), IPv4Address(ip.strip())))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{part!r} is not <name>=<IPv4 address>") from None
    if len({h.name for h in hosts}) < len(hosts) or len({h.ip for h in hosts}) < len(hosts):
        raise argparse.ArgumentTypeError("a name or an address stands twice")
    return hosts


def run(args: argparse.Namespace) -> int:
    if args.part == "down":
        if left := control.stop(args.name, args.state_dir, wipe=True, grace=5):
            raise EmulatorError("still there: " + "; ".join(left))
        print(f"lab {args.name} is gone", file=sys.stderr)
        return 0
    print(json.dumps(up(args.name, args.hosts, args.network, args.ssh_key, args.port, args.state_dir), indent=2))
    return 0


def up(
    name: str,
    hosts: list[LabHost],
    ip_range: IPv4Network | None = None,
    ssh_key: Path | None = None,
    port: int | None = None,
    state_dir: Path | None = None,
) -> dict[str, Any]:
    """The lab, made or completed: what is there already stays."""
    instance = Instance.at(name, state_dir)
    folder = instance.folder.parent
    instance.make()
    running = read_ref(instance.daemon_ref) is not None
    robot_port = control.robot_port_of(instance) if running else free_port()
    if port is None:
        port = control.port_of(instance) if running else free_port()
    client = control.ensure_running(name, port, folder, robot_port=robot_port)
    whole = ip_range or IPv4Network(f"{hosts[0].ip}/16", strict=False)
    identity = ssh_key.with_suffix("") if ssh_key else _key(folder / "id_ed25519", f"{name} operator")
    operator = _ensure(client, "ssh_keys", "ssh_key", {"name": "operator", "public_key": _public(identity)})
    net = _network(client, name, whole, hosts)
    keys = {host.name: _key(folder / "host_keys" / host.name, host.name) for host in hosts}
    for host in hosts:
        _host(client, host, keys[host.name], operator["id"], net["id"])
    known_hosts, config = _write_ssh(folder, name, hosts, keys, identity)
    _wait_for_ssh(config, hosts)
    servers = {s["name"]: s for s in client.every("servers")}
    return {
        "name": name,
        "port": port,
        "hosts": {
            h.name: {
                "private_ip": str(h.ip),
                "public_ipv4": servers[h.name]["public_net"]["ipv4"]["ip"],
                "host_key": _public(keys[h.name]),
            }
            for h in hosts
        },
        "identity_file": str(identity),
        "ssh_config": str(config),
        "known_hosts": str(known_hosts),
        "mirror_url": f"http://{whole[1]}:8480",
        "network": str(whole),
    }


def _ensure(client: Client, family: str, singular: str, body: dict[str, Any]) -> dict[str, Any]:
    for found in client.every(family):
        if found["name"] == body["name"]:
            return found
    answer = client.call("POST", f"/v1/{family}", body)
    for action in [answer.get("action"), *answer.get("next_actions", [])]:
        if action:
            client.settle(action)
    made: dict[str, Any] = answer[singular]
    return made


def _network(client: Client, name: str, whole: IPv4Network, hosts: list[LabHost]) -> dict[str, Any]:
    subnets = sorted({str(IPv4Network(f"{h.ip}/24", strict=False)) for h in hosts})
    cloud = [{"type": "cloud", "network_zone": "eu-central", "ip_range": s} for s in subnets]
    return _ensure(client, "networks", "network", {"name": name, "ip_range": str(whole), "subnets": cloud})


def _host(client: Client, host: LabHost, key: Path, operator: int, net: int) -> None:
    server = _ensure(
        client,
        "servers",
        "server",
        {
            "name": host.name,
            "server_type": SERVER_TYPE,
            "image": IMAGE,
            "location": LOCATION,
            "ssh_keys": [operator],
            "user_data": user_data(key),
        },
    )
    if not any(n["network"] == net for n in client.get(f"/v1/servers/{server['id']}")["server"]["private_net"]):
        attach = {"network": net, "ip": str(host.ip)}
        client.settle(client.call("POST", f"/v1/servers/{server['id']}/actions/attach_to_network", attach)["action"])
    if client.get(f"/v1/servers/{server['id']}")["server"]["status"] == "off":
        client.settle(client.call("POST", f"/v1/servers/{server['id']}/actions/poweron")["action"])


def user_data(key: Path) -> str:
    """cloud-init user data that gives a host the key it will be known by. JSON is YAML."""
    pair = {"ed25519_private": key.read_text(), "ed25519_public": _public(key)}
    return "#cloud-config\n" + json.dumps({"ssh_deletekeys": True, "ssh_keys": pair}) + "\n"


def _key(path: Path, comment: str) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)
    return path


def _public(key: Path) -> str:
    return key.with_name(key.name + ".pub").read_text().strip()


def _write_ssh(
    folder: Path, name: str, hosts: list[LabHost], keys: dict[str, Path], identity: Path
) -> tuple[Path, Path]:
    known_hosts, config = folder / "known_hosts", folder / "ssh_config"
    # Known by address, as ansible may use it, and by alias.
    lines = [f"{h.name},{h.ip} {' '.join(_public(keys[h.name]).split()[:2])}" for h in hosts]
    known_hosts.write_text("\n".join(lines) + "\n")
    common = (
        "Host *\n"
        "  User root\n"
        f"  IdentityFile {identity}\n"
        "  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {known_hosts}\n"
        "  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n"
        "  HostKeyAlgorithms ssh-ed25519\n"
        f"  ProxyCommand nsenter --net={network.namespace_path(name)} socat - TCP:%h:%p\n"
        "  ControlMaster auto\n"
        "  ControlPath /tmp/bt-%C\n"
        "  ControlPersist 60s\n"
    )
    config.write_text("".join(f"Host {h.name}\n  HostName {h.ip}\n  HostKeyAlias {h.name}\n\n" for h in hosts) + common)
    return known_hosts, config


def _wait_for_ssh(config: Path, hosts: list[LabHost]) -> None:
    def one(host: LabHost) -> str | None:
        argv = ["ssh", "-F", str(config), "-o", "ControlMaster=no", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
        said = ""
        deadline = time.monotonic() + SSH_SECONDS
        while time.monotonic() < deadline:
            tried = subprocess.run([*argv, host.name, "true"], capture_output=True, text=True, check=False)
            if tried.returncode == 0:
                return None
            said = tried.stderr.strip()
            # What will not change by waiting.
            if "Host key verification failed" in said or "Permission denied" in said:
                break
            # The host boots in seconds: a refused connection comes back at once, so wait between attempts.
            time.sleep(0.25)
        return f"{host.name} ({host.ip}): {said}"

    with ThreadPoolExecutor(max(1, len(hosts))) as pool:
        if failed := [answer for answer in pool.map(one, hosts) if answer]:
            raise EmulatorError("no ssh to " + "; ".join(failed))
