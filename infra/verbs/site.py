"""A running site as the verbs see it: the inventory, a shell on each host, and the loopback addresses of its pages."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from infra.paths import repo_root, state_dir

QUIETLY = ("--yes", "--skip-preview", "--non-interactive", "--color", "never")
"""How the verbs run Pulumi: they asked already, and show its lines themselves."""


class SiteError(Exception):
    """The site cannot be read or reached; the message says why and what to do."""


@dataclass(frozen=True)
class Host:
    name: str
    pool: str
    services: tuple[str, ...]
    private_ip: str
    public_ipv4: str


class Site:
    """One stack's site, read from its inventory."""

    def __init__(self, stack: str) -> None:
        self.stack = stack
        self.state = state_dir(stack)

    @classmethod
    def from_environment(cls) -> "Site":
        return cls(os.environ.get("BARETICK_STACK", "local"))

    @cached_property
    def inventory(self) -> dict[str, Any]:
        result = subprocess.run(
            [sys.executable, str(repo_root() / "inventory" / "stack.py"), "--list"],
            capture_output=True,
            text=True,
            env={**os.environ, "BARETICK_STACK": self.stack},
            check=False,
        )
        if result.returncode != 0:
            raise SiteError(result.stderr.strip() or "the inventory could not be read")
        parsed: dict[str, Any] = json.loads(result.stdout)
        return parsed

    @cached_property
    def hosts(self) -> list[Host]:
        return [
            Host(
                name=name,
                pool=v["pool"],
                services=tuple(v["services"]),
                private_ip=v["private_ip"],
                public_ipv4=v["public_ipv4"],
            )
            for name, v in sorted(self.inventory["_meta"]["hostvars"].items())
        ]

    @property
    def vars(self) -> dict[str, Any]:
        found: dict[str, Any] = self.inventory["all"]["vars"]
        return found

    @property
    def emulated(self) -> bool:
        return bool(self.vars["site_environment"] == "emulated")

    def secret(self, name: str) -> str:
        return str(self.vars["site_secrets"][name])

    def hosts_of(self, group: str) -> list[Host]:
        members = set(self.inventory.get(group, {}).get("hosts", ()))
        return [h for h in self.hosts if h.name in members]

    def host_of(self, group: str) -> Host:
        found = self.hosts_of(group)
        if not found:
            raise SiteError(f"no host of stack {self.stack!r} runs {group}")
        return found[0]

    def ssh_argv(self, host: Host) -> list[str]:
        return ["ssh", "-F", str(self.state / "ssh_config"), host.name]

    def ssh(self, host: Host, script: str, *, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run a shell script, sent on standard input so that nothing of it shows in a process list."""
        return subprocess.run(
            [*self.ssh_argv(host), "sh", "-s"],
            input=script,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ssh_all(self, scripts: dict[Host, str], *, timeout: float = 60) -> dict[Host, str | None]:
        """Run a script on each host at once; None where the host could not be asked."""

        def one(item: tuple[Host, str]) -> tuple[Host, str | None]:
            try:
                result = self.ssh(*item, timeout=timeout)
            except subprocess.TimeoutExpired:
                return item[0], None
            return item[0], result.stdout if result.returncode != 255 else None

        with ThreadPoolExecutor(max_workers=16) as pool:
            return dict(pool.map(one, scripts.items()))


def pulumi() -> str:
    """The Pulumi command of this clone."""
    return str(repo_root() / ".venv" / "bin" / "pulumi")


def log_dir(stack: str) -> Path:
    return state_dir(stack) / "log"
