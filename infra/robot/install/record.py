"""What is kept of a host's installation: one file, replaced whole, written before and after everything that counts."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ValidationError

from infra.robot.errors import RobotError
from infra.robot.models import Firewall


class State(StrEnum):
    """Each is named for what holds once it is left."""

    INSPECT = "inspect"
    KEY = "key"
    GUARD = "guard"
    RESCUE_ARMED = "rescue-armed"
    RESCUE_BOOTED = "rescue-booted"
    HARDWARE = "hardware"
    DISKS = "disks"
    INSTALLED = "installed"
    BOOTED = "booted"
    NETWORK = "network"
    FIREWALL = "firewall"
    READY = "ready"


class Reset(BaseModel):
    how: str
    at: float


class Record(BaseModel):
    """Nothing in it is secret."""

    version: int = 1
    number: int
    install_id: str
    hostname: str
    state: State = State.INSPECT
    entered_at: float | None = None
    address: str | None = None
    # The restart that is waited for: which rung of the ladder, since when, and whether it was surely asked for.
    rung: str | None = None
    rung_at: float | None = None
    rung_sent: bool = False
    # What ran before that restart.
    old_boot_id: str | None = None
    resets: list[Reset] = []
    # Rungs that brought up the wrong system.
    skip: int = 0
    # The rescue system in which an installation failed: the next attempt takes another boot of it.
    spent_boot_id: str | None = None
    # How often the rescue system was armed and came to nothing, and installimage failed.
    arms: int = 0
    install_tries: int = 0
    # Of the rescue system of this attempt; Robot's, where it gives fingerprints.
    rescue_keys: list[str] = []
    robot_keys: list[str] = []
    reset_types: list[str] = []
    drives: list[str] = []
    nic: str | None = None
    nic_driver: str | None = None
    uefi: bool = True
    # From the moment that the disks are no longer what they were.
    install_began_at: float | None = None
    install_done: bool = False
    # Of the installed system, pinned from inside the rescue system (or believed once where `first_use`).
    host_keys: list[str] = []
    first_use: bool = False
    network_digest: str | None = None
    firewall_digest: str | None = None
    previous_firewall: Firewall | None = None
    degraded: str | None = None
    failure: str | None = None


class Records:
    """The records of a site's hosts, one file each."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """Not `durable`, they survive a kill of this process but not of the machine that it runs on."""
        self.folder = folder
        self._durable = durable
        self._kept: dict[int, bytes] = {}

    def path(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def load(self, number: int) -> Record | None:
        self._kept.pop(number, None)
        try:
            return Record.model_validate_json(self.path(number).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise RobotError(
                f"server {number}",
                f"its record {self.path(number)} cannot be read ({error.errors()[0]['msg']}): restore it, "
                "or remove it, and what runs on the host is looked at anew",
            ) from None

    def save(self, record: Record) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.path(record.number)
        text = record.model_dump_json(indent=1).encode()
        if self._kept.get(record.number) == text:
            return
        scratch = path.with_suffix(".new")
        with scratch.open("wb") as file:
            file.write(text)
            file.flush()
            if self._durable:
                os.fsync(file.fileno())
        scratch.replace(path)
        self._kept[record.number] = text
        if not self._durable:
            return
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def held(self, number: int) -> Iterator[None]:
        """One run at a time works on a host; the kernel lets go however a run ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{number}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RobotError(
                    f"server {number}", "another run is working on this host: wait until it has ended"
                ) from None
            yield
