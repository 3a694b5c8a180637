"""What a stack's program published: its site, hosts and secrets, read through the Pulumi CLI and typed."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from infra.paths import repo_root


class NoSite(Exception):
    """There is no site to make an inventory of; the message says what to do."""


class Ssh(BaseModel):
    user: str
    identity_file: str
    proxy_command: str | None


class SiteFacts(BaseModel):
    name: str
    environment: str
    network_cidr: str
    mirror_url: str | None
    ssh: Ssh


class Cpus(BaseModel):
    housekeeping: str
    isolated: str


class HostFacts(BaseModel):
    pool: str
    services: list[str]
    public_ipv4: str
    private_ip: str
    host_key: str
    cpus: Cpus
    # Robot's number of a dedicated server; None: a cloud server.
    server_number: int | None = None


@dataclass(frozen=True)
class Outputs:
    stack: str
    site: SiteFacts
    hosts: dict[str, HostFacts]
    secrets: dict[str, str] = field(repr=False)


def stack_name() -> str:
    return os.environ.get("BARETICK_STACK") or "local"


def read(stack: str) -> Outputs:
    """The outputs of a stack that is up; raises NoSite."""
    raw = _raw(stack)
    if not raw.get("hosts"):
        raise NoSite(f"stack {stack} has no hosts: run `pulumi up --stack {stack}`{_or_make_up(stack)} first")
    try:
        return Outputs(
            stack=stack,
            site=SiteFacts.model_validate(raw.get("site")),
            hosts={name: HostFacts.model_validate(facts) for name, facts in sorted(raw["hosts"].items())},
            secrets={name: str(value) for name, value in (raw.get("secrets") or {}).items()},
        )
    except ValidationError as e:
        where = ".".join(str(part) for part in e.errors()[0]["loc"])
        raise NoSite(
            f"the outputs of stack {stack} are of another version of the program ({where}: {e.errors()[0]['msg']}): "
            f"run `pulumi up --stack {stack}`"
        ) from e


def _raw(stack: str) -> dict[str, Any]:
    pulumi = repo_root() / ".venv" / "bin" / "pulumi"
    argv = [str(pulumi) if pulumi.exists() else "pulumi", "stack", "output", "--json", "--show-secrets"]
    try:
        result = subprocess.run(
            [*argv, "--stack", stack, "--non-interactive"],
            capture_output=True,
            text=True,
            cwd=repo_root(),
            check=False,
        )
    except FileNotFoundError as e:
        raise NoSite("the Pulumi CLI is not there: run `make up`, which brings it") from e
    if result.returncode != 0:
        said = result.stderr.strip().removeprefix("error: ")
        if "no stack named" in said:
            said = f"there is no stack {stack} yet"
        raise NoSite(f"{said}: run `pulumi up --stack {stack}`{_or_make_up(stack)}")
    outputs: dict[str, Any] = json.loads(result.stdout)
    return outputs


def _or_make_up(stack: str) -> str:
    return " (or `make up`)" if stack == "local" else ""
