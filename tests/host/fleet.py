"""The hosts of a running site as tests see them: by inventory group, over the site's own ssh_config.

`@on("engine")` runs a test once for each host of the group, with a `Node` as its argument. The inventory is the
stack's (BARETICK_STACK), or the script that BARETICK_INVENTORY names. Without a site the tests are skipped visibly.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[2]


@cache
def _listed() -> tuple[dict[str, Any], str]:
    script = os.environ.get("BARETICK_INVENTORY") or str(ROOT / "inventory" / "stack.py")
    result = subprocess.run([sys.executable, script, "--list"], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        return {}, result.stderr.strip()
    return json.loads(result.stdout), ""


def inventory() -> dict[str, Any]:
    """What Ansible sees; empty where no site is up."""
    return _listed()[0]


@dataclass(frozen=True)
class Node:
    """One host: its inventory variables, and testinfra's view of it."""

    name: str

    @property
    def vars(self) -> dict[str, Any]:
        shared: dict[str, Any] = inventory()["all"]["vars"]
        return shared | inventory()["_meta"]["hostvars"][self.name]

    @property
    def ip(self) -> str:
        return str(self.vars["private_ip"])

    @cached_property
    def host(self) -> Host:
        return _connect(self.name, self.vars["ansible_ssh_common_args"].removeprefix("-F ").strip("'"))

    def run(self, command: str) -> str:
        """Standard output of a command that must succeed."""
        result = self.host.run(command)
        assert result.rc == 0, f"{self.name}: {command}: {result.stderr or result.stdout}"
        return str(result.stdout)

    def get(self, port: int, path: str) -> tuple[int, str]:
        """Status and body of a page, asked from the host itself on its private address."""
        code = (
            "import sys, urllib.error, urllib.request\n"
            "try: r = urllib.request.urlopen(sys.argv[1], timeout=10)\n"
            "except urllib.error.HTTPError as e: r = e\n"
            "print(r.status); print(r.read().decode())"
        )
        status, _, body = self.run(f"python3 -c '{code}' http://{self.ip}:{port}{path}").partition("\n")
        return int(status), body

    def assert_running(self, unit: str) -> None:
        """The unit is active and starts at boot; its last words are in the message where it is not."""
        show = self.run(f"systemctl show {unit} -p ActiveState -p UnitFileState")
        facts = dict(line.split("=", 1) for line in show.splitlines())
        journal = self.host.run(f"journalctl -u {unit} -n 20 --no-pager -o cat").stdout
        assert facts["ActiveState"] == "active", f"{unit} on {self.name} is {facts['ActiveState']}:\n{journal}"
        assert facts["UnitFileState"] == "enabled", f"{unit} on {self.name} will not start at boot"

    def listeners(self, port: int) -> set[str]:
        """Addresses that something listens on at `port`."""
        lines = self.run("ss -Hltn").splitlines()
        return {
            line.split()[3].rpartition(":")[0].strip("[]") for line in lines if line.split()[3].endswith(f":{port}")
        }

    def sandbox(self, unit: str) -> dict[str, str]:
        """What systemd enforces for the unit."""
        wanted = ("NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "RestrictSUIDSGID", "User")
        show = self.run(f"systemctl show {unit} " + " ".join(f"-p {name}" for name in wanted))
        return dict(line.split("=", 1) for line in show.splitlines())


@cache
def _connect(name: str, ssh_config: str) -> Host:
    # The connection that the site's ssh_config keeps open is shared.
    return testinfra.get_host(f"ssh://{name}?ssh_config={ssh_config}")


def on(group: str) -> pytest.MarkDecorator:
    """Run the test on each host of an inventory group."""
    names = inventory().get(group, {}).get("hosts", [])
    if names:
        nodes = [pytest.param(Node(name), id=name) for name in names]
    else:
        why = (
            f"the site has no host that runs {group}" if inventory() else f"no site is up: {_listed()[1] or 'make up'}"
        )
        nodes = [pytest.param(None, id="none", marks=pytest.mark.skip(reason=why))]
    return pytest.mark.parametrize("node", nodes)


SANDBOX = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "PrivateTmp": "yes",
    "RestrictSUIDSGID": "yes",
}
