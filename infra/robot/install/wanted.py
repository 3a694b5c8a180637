"""What a dedicated server is to become, as the site says it."""

import hashlib
import json
from dataclasses import dataclass, field

from infra.robot.models import Firewall
from infra.robot.storage import Storage
from infra.robot.vlan import VlanLink

DEBIAN_13 = "/root/.oldroot/nfs/images/Debian-1300-trixie-amd64-base.tar.gz"


@dataclass(frozen=True)
class OnVSwitch:
    vswitch: int
    # Without its parent interface, which is found out on the host.
    link: VlanLink
    # Addresses on the vSwitch that answer already: reaching one at full MTU proves the link.
    peers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    number: int
    hostname: str
    storage: Storage
    # The operator's, in OpenSSH's form.
    public_key: str
    image: str = DEBIAN_13
    # Checked where given, before anything is written.
    product: str | None = None
    location: str | None = None
    cpus: int = 1
    memory_gib: int = 1
    # The server's own number, typed by a person who wants what is on its disks gone.
    allow_reinstall: int | None = None
    # Raised to have a host of ours installed anew (which takes that consent too).
    generation: int = 0
    reverse_dns: str | None = None
    vswitch: OnVSwitch | None = None
    firewall: Firewall | None = field(default=None)

    @property
    def install_id(self) -> str:
        """Of what an installation puts on the disks: the same as long as nothing of that changes."""
        said = {
            "number": self.number,
            "image": self.image,
            "generation": self.generation,
            "storage": self.storage.model_dump(exclude={"wipe"}),
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def consented(self) -> bool:
        return self.allow_reinstall == self.number

    def digest(self, part: str) -> str:
        """Of what can change on a host that stays: `network` or `firewall`."""
        said = repr(self.vswitch) if part == "network" else repr(self.firewall)
        return hashlib.sha256(said.encode()).hexdigest()[:16]
