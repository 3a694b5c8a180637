"""installimage's configuration file, read as its grammar says: DRIVE, SWRAID, BOOTLOADER, HOSTNAME, PART, LV, IMAGE."""

import re
from dataclasses import dataclass, field

_SIZE = re.compile(r"(\d+)([MGT]?)|all")
_LEVELS = {0: 2, 1: 2, 5: 3, 6: 4, 10: 4}


class AutosetupError(Exception):
    """What installimage would refuse, by line."""


@dataclass(frozen=True)
class Partition:
    mount: str
    # The file system, or the volume group where mount is `lvm`.
    fs: str
    # MiB; None is all that is left.
    size: int | None


@dataclass(frozen=True)
class LogicalVolume:
    vg: str
    name: str
    mount: str
    fs: str
    size: int | None


@dataclass
class Autosetup:
    drives: list[str] = field(default_factory=list)
    raid: int | None = None
    bootloader: str = "grub"
    hostname: str = ""
    image: str = ""
    partitions: list[Partition] = field(default_factory=list)
    volumes: list[LogicalVolume] = field(default_factory=list)


def parse(text: str) -> Autosetup:
    setup = Autosetup()
    software_raid, level = False, 1
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            match words:
                case [key, path] if re.fullmatch(r"DRIVE\d+", key):
                    setup.drives.append(path.removeprefix("/dev/"))
                case ["SWRAID", "0" | "1" as flag]:
                    software_raid = flag == "1"
                case ["SWRAIDLEVEL", value]:
                    level = int(value)
                case ["BOOTLOADER", name]:
                    setup.bootloader = name
                case ["HOSTNAME", name]:
                    setup.hostname = name
                case ["IMAGE", path]:
                    setup.image = path
                case ["PART", mount, fs, size]:
                    setup.partitions.append(Partition(mount, fs, _mib(size)))
                case ["LV", vg, name, mount, fs, size]:
                    setup.volumes.append(LogicalVolume(vg, name, mount, fs, _mib(size)))
                case _:
                    raise AutosetupError("this is no line of a configuration file")
        except (AutosetupError, ValueError) as error:
            raise AutosetupError(f"line {number}, {line!r}: {error}") from None
    setup.raid = level if software_raid else None
    _check(setup)
    return setup


def _mib(size: str) -> int | None:
    match = _SIZE.fullmatch(size)
    if match is None:
        raise AutosetupError(f"{size!r} is no size")
    return None if size == "all" else int(match[1]) * {"": 1, "M": 1, "G": 1024, "T": 1024**2}[match[2]]


def _check(setup: Autosetup) -> None:
    mounts = {p.mount: p for p in setup.partitions}
    problems = []
    if not setup.drives or not setup.image or not setup.partitions:
        problems.append("a drive, an image and partitions are needed")
    if setup.raid is not None and len(setup.drives) < _LEVELS.get(setup.raid, 99):
        problems.append(f"RAID {setup.raid} cannot be made of {len(setup.drives)} drives")
    if any(p.size is None for p in setup.partitions[:-1]):
        problems.append("size all must come last")
    if "/" not in mounts and all(v.mount != "/" for v in setup.volumes):
        problems.append("nothing is mounted at /")
    for mount, least in (("/", 1500), ("/boot", 200), ("/boot/efi", 256)):
        if mount in mounts and (mounts[mount].size or least) < least:
            problems.append(f"{mount} is smaller than {least}M")
    if {v.vg for v in setup.volumes} - {p.fs for p in setup.partitions if p.mount == "lvm"}:
        problems.append("a volume group is on no partition")
    if problems:
        raise AutosetupError("; ".join(problems))
