"""Servers as real hosts: booted through the API, reached with pinned keys, killed, rebooted, gone without a trace."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from infra.emulator import control, ground, lab
from infra.emulator.client import Client
from infra.emulator.gateway import free_port
from infra.emulator.instance import Instance
from infra.emulator.machines import cgroups, network
from infra.emulator.process import ProcessRef, read_ref

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

NAME = "itest"
HOSTS = [lab.LabHost("alpha", IPv4Address("10.91.1.11")), lab.LabHost("beta", IPv4Address("10.91.1.12"))]
GATEWAY = "10.91.0.1"


class Lab:
    """The running lab, and a shell on its hosts."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.facts = facts
        self.client = Client(facts["port"])
        self.instance = Instance.at(NAME, folder)

    def ssh(self, host: str, script: str, *options: str, check: bool = True) -> str:
        argv = ["ssh", "-F", self.facts["ssh_config"], "-o", "ControlMaster=no", "-o", "ControlPath=none"]
        argv += ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", *options, host, "sh -s"]
        done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=120)
        if check:
            assert done.returncode == 0, f"{script!r} on {host}: {done.stdout}{done.stderr}"
        return (done.stdout + ("" if check else done.stderr)).strip()

    def machine(self, name: str) -> dict[str, Any]:
        return next(m for m in self.client.get("/_emulator/machines")["machines"] if m["name"] == name)

    def act(self, name: str, command: str, body: object = None) -> None:
        ident = self.machine(name)["id"]
        self.client.settle(self.client.call("POST", f"/v1/servers/{ident}/actions/{command}", body)["action"])

    def wait_for_ssh(self) -> None:
        lab._wait_for_ssh(Path(self.facts["ssh_config"]), HOSTS)


def until(what: str, holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def root_links() -> set[str]:
    return {link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-json", "link"]))}


def traces(folder: Path) -> list[str]:
    """Whatever of the lab can be seen on this machine from outside the emulator's own bookkeeping."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = (process / "mounts").read_text(errors="replace")
        except OSError:
            continue
        if str(folder) in command or f"bt-{NAME}" in command:
            found.append(f"process {process.name}: {command}")
        if str(folder) in mounts:
            found.append(f"mount in {process.name}")
    if network.namespace(NAME) in subprocess.check_output(["ip", "netns"], text=True).split():
        found.append("network namespace")
    found += [f"cgroup {group}" for group in Path("/sys/fs/cgroup").rglob(f"bt-{NAME}")]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("itest")


@pytest.fixture(scope="module")
def links_before() -> set[str]:
    return root_links()


@pytest.fixture(scope="module")
def site(folder: Path, links_before: set[str]) -> Iterator[Lab]:
    try:
        yield Lab(folder, lab.up(NAME, HOSTS, state_dir=folder))
    finally:
        assert control.stop(NAME, folder, wipe=True, grace=10) == []


def test_hosts_answer_with_the_key_they_were_given_and_offer_no_other(site: Lab) -> None:
    for host in HOSTS:
        scanned = subprocess.run(
            ["nsenter", f"--net={network.namespace_path(NAME)}", "ssh-keyscan", "-T", "5", str(host.ip)],
            capture_output=True,
            text=True,
        ).stdout.split("\n")
        keys = [" ".join(line.split()[1:3]) for line in scanned if line and not line.startswith("#")]
        pinned = " ".join(site.facts["hosts"][host.name]["host_key"].split()[:2])
        assert keys == [pinned]
        assert site.ssh(host.name, "hostname") == host.name


def test_a_host_with_another_key_is_not_spoken_to(site: Lab, tmp_path: Path) -> None:
    swapped = tmp_path / "known_hosts"
    alpha, beta = (site.facts["hosts"][h.name]["host_key"] for h in HOSTS)
    swapped.write_text(f"alpha {beta}\nbeta {alpha}\n")
    said = site.ssh("alpha", "true", "-o", f"UserKnownHostsFile={swapped}", check=False)
    assert "Host key verification failed" in said


def test_systemd_is_whole_and_the_host_knows_its_name(site: Lab) -> None:
    assert site.ssh("alpha", "systemctl is-system-running --wait") == "running"
    assert site.ssh("alpha", "systemctl --failed --no-legend") == ""
    assert "alpha" in site.ssh("alpha", "getent hosts alpha")
    assert "done" in site.ssh("alpha", "cloud-init status")


def test_hosts_have_the_interfaces_of_hetzners_and_reach_each_other(site: Lab) -> None:
    addresses = site.ssh("alpha", "ip -brief -4 address")
    assert "host0" in addresses and site.facts["hosts"]["alpha"]["public_ipv4"] + "/24" in addresses
    assert "enp7s0" in addresses and "10.91.1.11/16" in addresses
    assert site.ssh("alpha", "cat /sys/class/net/enp7s0/mtu") == "1450"
    site.ssh("alpha", f"ping -c 2 -W 2 -q 10.91.1.12 && ping -c 1 -W 2 -q {GATEWAY}")


FETCH = """
python3 - "$@" <<'PY'
import sys, urllib.request, urllib.error
opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": sys.argv[2]} if len(sys.argv) > 2 else {}))
try:
    print(opener.open(sys.argv[1], timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code)
PY
"""


def fetch(site: Lab, url: str, proxy: str = "") -> str:
    return site.ssh("alpha", f"set -- {url} {proxy}\n{FETCH}")


def test_packages_come_through_the_gateway_and_nothing_else_does(site: Lab) -> None:
    source = site.ssh("alpha", "grep -rhoE 'https?://[^ ]+' /etc/apt/sources.list /etc/apt/sources.list.d | head -1")
    proxy = f"http://{GATEWAY}:3142"
    if source.startswith("http:"):
        assert fetch(site, f"{source.rstrip('/')}/dists/trixie/InRelease", proxy) == "200"
    assert fetch(site, "http://example.invalid/", proxy) == "403"
    assert "Reading package lists" in site.ssh("alpha", "apt-get update")
    # No way out but that one.
    assert "unreachable" in site.ssh("alpha", "ping -c 1 -W 1 192.0.2.1 2>&1 || echo unreachable")


def test_the_mirror_answers_on_both_gateways(site: Lab) -> None:
    for gateway in (GATEWAY, "198.51.100.1"):
        assert fetch(site, f"http://{gateway}:8480/manifest.json") == "200"


SANDBOX = """
cat > /etc/systemd/system/sandbox.service <<'UNIT'
[Service]
Type=oneshot
DynamicUser=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_INET AF_UNIX
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
SystemCallFilter=@system-service
StateDirectory=sandbox
CPUAffinity=0
ExecStart=/bin/sh -c 'touch /var/lib/sandbox/ok; touch /etc/not-ok && exit 1; exit 0'
UNIT
systemctl daemon-reload
systemctl start sandbox
test -e /var/lib/sandbox/ok
test ! -e /etc/not-ok
"""


def test_sandboxed_units_run_and_are_held(site: Lab) -> None:
    site.ssh("alpha", SANDBOX)


def test_the_root_namespace_gains_no_interface(site: Lab, links_before: set[str]) -> None:
    assert root_links() == links_before


def test_a_killed_host_is_off_and_comes_back_with_its_disk(site: Lab) -> None:
    site.ssh("alpha", "echo kept > /root/kept; sync")
    os.kill(site.machine("alpha")["init_pid"], signal.SIGKILL)  # behind everyone's back
    until("alpha is off", lambda: site.machine("alpha")["status"] == "off")
    assert site.machine("beta")["status"] == "running"
    site.act("alpha", "poweron")
    site.wait_for_ssh()
    assert site.ssh("alpha", "cat /root/kept") == "kept"
    site.ssh("alpha", "ping -c 1 -W 2 -q 10.91.1.12")


def test_the_kill_route_pulls_the_plug_whole(site: Lab) -> None:
    site.client.call("POST", "/_emulator/machines/alpha/kill")
    machine = site.machine("alpha")
    assert (machine["status"], machine["pid"]) == ("off", None)
    assert not cgroups.populated(cgroups.instance(NAME) / str(machine["id"]))
    site.act("alpha", "poweron")
    site.wait_for_ssh()


def test_a_reboot_from_inside_brings_the_host_back(site: Lab) -> None:
    boots = site.machine("alpha")["boots"]
    site.ssh("alpha", "systemctl reboot", check=False)
    until("a further boot", lambda: site.machine("alpha")["boots"] == boots + 1)
    site.wait_for_ssh()
    assert "10.91.1.11/16" in site.ssh("alpha", "ip -brief -4 address show enp7s0")
    assert site.ssh("alpha", "systemctl is-system-running --wait") == "running"


def test_a_power_off_from_inside_is_seen_as_off(site: Lab) -> None:
    site.ssh("beta", "systemctl poweroff", check=False)
    until("beta is off", lambda: site.machine("beta")["status"] == "off")
    site.act("beta", "poweron")
    site.wait_for_ssh()


def test_shutdown_and_reboot_by_the_api_are_orderly(site: Lab) -> None:
    site.act("beta", "reboot")
    site.wait_for_ssh()
    site.ssh("beta", "mkdir -p /var/log/journal && systemctl restart systemd-journald")
    site.act("beta", "shutdown")
    assert site.machine("beta")["status"] == "off"
    site.act("beta", "poweron")
    site.wait_for_ssh()
    assert "Reached target" in site.ssh("beta", "journalctl -b -1 --no-pager | grep -i -E 'power.?off|shutdown'")


def test_networks_come_and_go_on_a_running_host(site: Lab) -> None:
    subnet = {"type": "cloud", "network_zone": "eu-central", "ip_range": "10.92.1.0/24"}
    body = {"name": "second", "ip_range": "10.92.0.0/16", "subnets": [subnet]}
    second = site.client.call("POST", "/v1/networks", body)["network"]["id"]
    site.act("alpha", "attach_to_network", {"network": second, "ip": "10.92.1.5", "alias_ips": ["10.92.1.6"]})
    assert "10.92.1.5/16 10.92.1.6/32" in site.ssh("alpha", "ip -brief -4 address show enp8s0")
    site.ssh("alpha", "ping -c 1 -W 2 -q 10.92.0.1")
    site.act("alpha", "change_alias_ips", {"network": second, "alias_ips": []})
    assert "10.92.1.6" not in site.ssh("alpha", "ip -brief -4 address show enp8s0")
    site.act("alpha", "detach_from_network", {"network": second})
    assert "enp8s0" not in site.ssh("alpha", "ip -brief link")
    site.client.call("DELETE", f"/v1/networks/{second}")
    assert f"net{second}" not in subprocess.check_output(["ip", "-n", network.namespace(NAME), "link"], text=True)


def banner(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        return sock.recv(64)


def test_hosts_and_forwards_outlive_a_killed_daemon(site: Lab) -> None:
    port = free_port()
    forwards = [{"listen": f"127.0.0.1:{port}", "to": "10.91.1.11:22"}]
    site.client.call("PUT", "/_emulator/forwards", forwards)
    assert banner(port).startswith(b"SSH-2.0")
    before = {name: site.machine(name)["init_pid"] for name in ("alpha", "beta")}
    ref = read_ref(site.instance.daemon_ref)
    assert ref is not None
    ref.kill(signal.SIGKILL)
    assert ref.wait(5)
    site.ssh("alpha", "true")
    control.ensure_running(NAME, site.facts["port"], site.folder)
    assert {name: site.machine(name)["init_pid"] for name in ("alpha", "beta")} == before
    until("the forward is back", lambda: banner(port).startswith(b"SSH-2.0"))
    site.client.call("PUT", "/_emulator/forwards", [])
    with pytest.raises(ConnectionRefusedError):
        banner(port)


def test_a_forward_to_a_taken_port_is_refused_and_the_old_ones_stay(site: Lab) -> None:
    port = free_port()
    kept = {"listen": f"127.0.0.1:{port}", "to": "10.91.1.11:22"}
    site.client.call("PUT", "/_emulator/forwards", [kept])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = {"listen": f"127.0.0.1:{taken.getsockname()[1]}", "to": "10.91.1.11:22"}
        with pytest.raises(control.EmulatorError, match="cannot listen"):
            site.client.call("PUT", "/_emulator/forwards", [wanted])
    assert banner(port).startswith(b"SSH-2.0")
    site.client.call("PUT", "/_emulator/forwards", [])


def test_a_deleted_server_leaves_no_disk_and_no_process(site: Lab) -> None:
    body = {"name": "gone", "server_type": "cx23", "image": "debian-13"}
    made = site.client.call("POST", "/v1/servers", body)
    site.client.settle(made["action"])
    pid, ident = site.machine("gone")["init_pid"], made["server"]["id"]
    site.client.settle(site.client.call("DELETE", f"/v1/servers/{ident}")["action"])
    assert not (site.instance.machines / str(ident)).exists()
    assert ProcessRef.of(pid) is None
    assert not (cgroups.instance(NAME) / str(ident)).exists()


def test_an_image_that_boots_nowhere_is_refused_before_anything_is_made(site: Lab) -> None:
    with pytest.raises(control.EmulatorError, match="image"):
        site.client.call("POST", "/v1/servers", {"name": "u", "server_type": "cx23", "image": "ubuntu-24.04"})
    assert {m["name"] for m in site.client.get("/_emulator/machines")["machines"]} == {"alpha", "beta"}


def test_stop_leaves_nothing_even_after_a_killed_daemon_and_start_brings_all_back(
    site: Lab, links_before: set[str]
) -> None:
    site.ssh("alpha", "echo through > /root/through; sync")
    ref = read_ref(site.instance.daemon_ref)
    assert ref is not None
    ref.kill(signal.SIGKILL)
    assert control.stop(NAME, site.folder) == []
    assert traces(site.folder) == []
    assert ground.remains(site.instance) == []
    assert root_links() == links_before
    site.facts = lab.up(NAME, HOSTS, port=site.facts["port"], state_dir=site.folder)
    assert site.ssh("alpha", "cat /root/through") == "through"
    site.ssh("beta", "ping -c 1 -W 2 -q 10.91.1.11")
