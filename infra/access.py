"""How the operator's machine reaches the hosts: as whom, with which key, and by which way."""

from dataclasses import dataclass

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
    public_key, identity_file = site.access.public_key, site.access.identity_file
    if public_key is None or identity_file is None:
        identity = state_dir(stack) / "id_ed25519"
        public_key = operator_key(identity, f"operator@{site.name}")
        identity_file = str(identity.relative_to(repo_root()))
    return Operator(public_key, identity_file, proxy_command=proxy)
