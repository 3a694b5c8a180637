"""How the operator's machine reaches the hosts: as whom, with which key, and by which way."""

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.keys import operator_key
from infra.paths import repo_root, state_dir
from infra.site import Site


@dataclass(frozen=True)
class Operator:
    public_key: str
    # Relative to the clone, beginning with ~, or absolute; made absolute where it is used.
    identity_file: str
    user: str = "root"
    proxy_command: str | None = None


def operator_of(site: Site, stack: str) -> Operator:
    """The operator of the site; an emulated one that names no key gets its own, made at first use."""
    # The emulator's hosts live in a network namespace of their own, and everything of ours stays in it.
    proxy = f"nsenter --net=/run/netns/bt-{stack} socat - TCP:%h:%p" if site.emulated else None
    public_key, identity_file = site.ssh.public_key, site.ssh.identity_file
    if public_key is None or identity_file is None:
        identity = state_dir(stack) / "id_ed25519"
        public_key = operator_key(identity, f"operator@{site.name}")
        identity_file = str(identity.relative_to(repo_root()))
    return Operator(public_key, identity_file, proxy_command=proxy)


def identity_path(identity_file: str) -> Path:
    """Where the operator's private key is on this machine."""
    return repo_root() / Path(identity_file).expanduser()


def control_path(stack: str, host: str) -> str:
    """The socket that shares connections to a host: short, as a socket's path must be, and this clone's alone."""
    folder = Path(f"/tmp/baretick-{os.getuid()}")  # noqa: S108 - checked below to be ours alone
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = folder.lstat()
    if owner.st_uid != os.getuid() or owner.st_mode & 0o077 or folder.is_symlink():
        raise PermissionError(f"{folder} is not ours alone: remove it, it should hold nothing but sockets of ssh")
    clone = hashlib.sha256(f"{repo_root()}:{stack}".encode()).hexdigest()[:8]
    return str(folder / f"{clone}-{host}")


def close_connections(stack: str, host: str = "*") -> int:
    """End the shared connections to a stack's hosts, which would outlive the hosts; returns how many there were."""
    pattern = Path(control_path(stack, host))
    sockets = [path for path in pattern.parent.glob(pattern.name) if path.is_socket()]
    for socket in sockets:
        subprocess.run(["ssh", "-F", "/dev/null", "-S", str(socket), "-O", "exit", "-q", "any"], check=False)
        # A master that died left its socket behind.
        socket.unlink(missing_ok=True)
    return len(sockets)
