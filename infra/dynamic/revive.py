"""Bring a server to life: power it on where it is off, and wait until its SSH answers with the pinned key."""

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra.access import close_connections, identity_path
from infra.dynamic.server_api import ApiFault, ServerApi

# A cloud server boots in well under a minute; what takes longer than this has failed.
PATIENCE_SECONDS = 240.0
BETWEEN_SECONDS = 0.25
# The login alone proves key, account and pinned host key. Waiting for cloud-init keeps the next step from racing it;
# its exit status is left aside, as it reports harmless warnings of the image by the same means as faults.
FIRST_COMMAND = "if command -v cloud-init >/dev/null; then cloud-init status --wait >/dev/null 2>&1; fi; exit 0"


class NotAlive(Exception):
    """A server that could not be brought to life; the message says what was tried and what came back."""


def fault(api: ServerApi, props: Mapping[str, Any]) -> str | None:
    """Why this server cannot be looked after at all; None where it can."""
    try:
        status = api.status(int(props["server_id"]))
    except ApiFault as e:
        return str(e)
    if status is None:
        return (
            f"server {props['name']} ({int(props['server_id'])}) was deleted behind Pulumi's back: "
            "run `pulumi up --refresh`, which makes it anew"
        )
    return None


def revive(api: ServerApi, props: Mapping[str, Any], patience: float = PATIENCE_SECONDS) -> None:
    server_id = int(props["server_id"])
    try:
        if api.status(server_id) == "off":
            # Connections that are still shared lead to the machine that died.
            close_connections(str(props["stack"]), str(props["name"]))
            api.power_on(server_id)
        wait_for_ssh(props, patience)
    except (ApiFault, NotAlive):
        # Pulumi's plugin shows the traceback of whatever is raised; here the message says all that a person needs.
        sys.tracebacklimit = 0
        raise


def wait_for_ssh(
    props: Mapping[str, Any],
    patience: float,
    run: Callable[[list[str]], "subprocess.CompletedProcess[str]"] | None = None,
) -> None:
    """Return once a login works over a connection whose host key is the pinned one; raise NotAlive after `patience`."""
    with tempfile.TemporaryDirectory(prefix="baretick-") as scratch:
        known_hosts = Path(scratch) / "known_hosts"
        known_hosts.write_text(f"{props['name']} {props['host_key']}\n")
        argv = ssh_argv(props, known_hosts)
        deadline = time.monotonic() + patience
        while True:
            result = (run or _run)(argv)
            if result.returncode == 0:
                return
            if time.monotonic() > deadline:
                said = result.stderr.strip().splitlines()
                raise NotAlive(
                    f"{props['name']} ({props['address']}) did not answer on SSH with its pinned key within "
                    f"{patience:.0f} s; the last attempt said: {said[-1] if said else 'nothing'}"
                )
            time.sleep(BETWEEN_SECONDS)


def ssh_argv(props: Mapping[str, Any], known_hosts: Path) -> list[str]:
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "5",
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": props["name"],
        "HostKeyAlgorithms": "ssh-ed25519",
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(known_hosts),
    }
    if props.get("identity_file"):
        options |= {"IdentityFile": str(identity_path(props["identity_file"])), "IdentitiesOnly": "yes"}
    if props.get("proxy_command"):
        options["ProxyCommand"] = props["proxy_command"]
    flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    return [
        "ssh",
        "-F",
        "/dev/null",
        *flags,
        "-l",
        props["user"],
        "--",
        props["address"],
        shlex.join(["sh", "-c", FIRST_COMMAND]),
    ]


def _run(argv: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 255, "", "the connection hung for 120 s")
