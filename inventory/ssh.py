"""The ssh_config and known_hosts of a site: what Ansible, pyinfra, testinfra and a person's own ssh all go by."""

import os
from pathlib import Path

from infra.access import control_path, identity_path
from infra.paths import state_dir
from inventory.outputs import Outputs


def write(outputs: Outputs) -> Path:
    """Bring both files up to date and return the path of ssh_config. An unchanged file is not touched."""
    folder = state_dir(outputs.stack)
    folder.mkdir(parents=True, exist_ok=True)
    known_hosts = folder / "known_hosts"
    config = folder / "ssh_config"
    _replace(known_hosts, render_known_hosts(outputs))
    _replace(config, render_config(outputs, known_hosts))
    return config


def render_known_hosts(outputs: Outputs) -> str:
    # By name for ssh (HostKeyAlias), by address for clients that know no aliases (paramiko).
    return "".join(f"{name},{host.public_ipv4} {host.host_key}\n" for name, host in outputs.hosts.items())


def render_config(outputs: Outputs, known_hosts: Path) -> str:
    ssh = outputs.site.ssh
    common = {
        "User": ssh.user,
        "IdentityFile": _quoted(identity_path(ssh.identity_file)),
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": _quoted(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlgorithms": "ssh-ed25519",
        "PasswordAuthentication": "no",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        "ControlMaster": "auto",
        "ControlPersist": "60s",
        **({"ProxyCommand": ssh.proxy_command} if ssh.proxy_command else {}),
    }
    lines = [f"# Site {outputs.site.name}, written by inventory/stack.py from the outputs of stack {outputs.stack}."]
    for name, host in outputs.hosts.items():
        own = {"HostName": host.public_ipv4, "HostKeyAlias": name, "ControlPath": control_path(outputs.stack, name)}
        lines += [f"Host {name}", *(f"    {key} {value}" for key, value in own.items())]
    lines += [f"Host {' '.join(outputs.hosts)}", *(f"    {key} {value}" for key, value in common.items())]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    return f'"{path}"' if " " in str(path) else str(path)


def _replace(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    scratch.replace(path)
