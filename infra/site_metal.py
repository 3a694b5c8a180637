"""How a pool of dedicated servers is described, beside what is said of each of its hosts."""

from typing import Literal

from pydantic import Field

from infra.robot.install.wanted import DEBIAN_13
from infra.robot.storage import USUAL_PARTS, Model, Part, Storage, Volume


class Dedicated(Model):
    """How the dedicated servers of a pool are installed; what they must be is checked before anything is written."""

    image: str = DEBIAN_13
    raid: Literal[0, 1, 5, 6, 10] | None = None
    parts: tuple[Part, ...] = USUAL_PARTS
    volumes: tuple[Volume, ...] = ()
    # Whether disks with other contents may be emptied, where a host's allow_reinstall lets them go.
    wipe: bool = False
    # As Robot names it ("AX102"), and where it stands ("FSN1"); None: any.
    product: str | None = None
    location: str | None = None
    memory_gib: int = Field(default=1, ge=1)

    def storage(self, disks: list[str]) -> Storage:
        return Storage(disks=disks, raid=self.raid, parts=self.parts, volumes=self.volumes, wipe=self.wipe)
