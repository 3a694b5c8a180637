"""A dedicated server's disks as the site says them, and the autosetup file that installimage takes."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from infra.problems import Refusal

MIB = 2**20
# installimage takes whole units of these; M is the smallest.
_UNITS = {"M": 1, "G": 1024, "T": 1024 * 1024}
_SIZE = re.compile(r"([1-9]\d{0,6})([MGT])")
# Everything written into the file is one word of these: none can begin a line of its own.
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]*")
_MOUNT = re.compile(r"swap|lvm|/|(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")
_HOSTNAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9_./:+-]+")
RAID_DISKS = {0: 2, 1: 2, 5: 3, 6: 4, 10: 4}
ROOT_MIB, BOOT_MIB, ESP_MIB = 1500, 200, 256
ESP = "/boot/efi"


def mib(size: str) -> int | None:
    """The size in MiB; None for `all`."""
    if size == "all":
        return None
    match = _SIZE.fullmatch(size)
    if match is None:
        raise Refusal(f'"{size}" is no size', 'Write a number with M, G or T, such as "8G", or "all"')
    return int(match[1]) * _UNITS[match[2]]


def _size(value: str) -> str:
    mib(value)
    return value


def _word(value: str) -> str:
    if not _WORD.fullmatch(value):
        raise Refusal(f'"{value}" is not a valid name', "Use letters, digits and . _ : + -, without blanks")
    return value


def _mount(value: str) -> str:
    if not _MOUNT.fullmatch(value) or "/.." in value:
        raise Refusal(f'"{value}" is no mount point', 'Write a path such as "/var", or "swap", or "lvm"')
    return value


type Size = Annotated[str, AfterValidator(_size)]
type Word = Annotated[str, AfterValidator(_word)]
type Mount = Annotated[str, AfterValidator(_mount)]
FileSystem = Literal["ext3", "ext4", "xfs", "btrfs", "swap", "esp"]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(Model):
    """A partition. With mount `lvm` it holds the volume group `vg`, and no file system of its own."""

    mount: Mount
    size: Size
    fs: FileSystem | None = None
    vg: Word | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Part":
        if (self.mount == "lvm") != (self.vg is not None) or (self.mount == "lvm") == (self.fs is not None):
            raise Refusal(f"partition {self.mount} is not whole", "Give an lvm partition its vg, any other one its fs")
        if (self.mount == "swap") != (self.fs == "swap") or (self.mount == ESP) != (self.fs == "esp"):
            raise Refusal(f'{self.mount} cannot be "{self.fs}"', f"Use fs swap for swap, and fs esp for {ESP}")
        return self

    def line(self) -> str:
        return f"PART {self.mount} {self.fs or self.vg} {self.size}"


class Volume(Model):
    vg: Word
    name: Word
    mount: Mount
    fs: FileSystem
    size: Size

    def line(self) -> str:
        return f"LV {self.vg} {self.name} {self.mount} {self.fs} {self.size}"


USUAL_PARTS = (
    Part(mount="/boot", fs="ext4", size="1G"),
    Part(mount="/", fs="ext4", size="all"),
)


class Storage(Model):
    """Disks by their stable ids (`nvme-…`, `ata-…`, `wwn-…`, `eui.…`, as under /dev/disk/by-id), RAID and layout."""

    disks: list[Word] = Field(min_length=1, max_length=16)
    # None: a single disk, without mirror.
    raid: Literal[0, 1, 5, 6, 10] | None = None
    parts: tuple[Part, ...] = USUAL_PARTS
    volumes: tuple[Volume, ...] = ()
    # Whether disks that hold what is not the system of ours may be emptied, once the server's number was typed.
    wipe: bool = False

    @model_validator(mode="after")
    def _whole(self) -> "Storage":
        for check in (self._disks, self._sizes, self._mounts, self._groups):
            check()
        return self

    def _disks(self) -> None:
        if len(set(self.disks)) != len(self.disks):
            raise Refusal("a disk is named twice", "Name each once")
        if self.raid is None and len(self.disks) > 1:
            raise Refusal(f"{len(self.disks)} disks and no raid", "Give the level (raid: 1), or name one disk")
        if self.raid is not None and len(self.disks) < RAID_DISKS[self.raid]:
            raise Refusal(
                f"raid {self.raid} takes {RAID_DISKS[self.raid]} disks, and {len(self.disks)} is named",
                "Name more disks, or choose another level",
            )

    def _sizes(self) -> None:
        for kind, sizes in (("partition", [p.size for p in self.parts]), *self._volume_sizes()):
            if "all" in sizes[:-1]:
                raise Refusal(f'a {kind} of size "all" is not the last one', "Move it to the end")
        smallest = (("/", ROOT_MIB), ("/boot", BOOT_MIB), (ESP, ESP_MIB))
        for mount, least in smallest:
            for at, given in [*((p.mount, p.size) for p in self.parts), *((v.mount, v.size) for v in self.volumes)]:
                size = mib(given)
                if at == mount and size is not None and size < least:
                    raise Refusal(f"{mount} of {given} is too small", f"Give it at least {least}M")

    def _volume_sizes(self) -> list[tuple[str, list[str]]]:
        groups = dict.fromkeys(v.vg for v in self.volumes)
        return [(f"volume of {vg}", [v.size for v in self.volumes if v.vg == vg]) for vg in groups]

    def _mounts(self) -> None:
        mounts = [p.mount for p in self.parts if p.mount != "lvm"] + [v.mount for v in self.volumes]
        twice = {m for m in mounts if mounts.count(m) > 1 and m != "swap"}
        if twice:
            raise Refusal(f"{min(twice)} is mounted twice", "Keep one of them")
        if "/" not in mounts:
            raise Refusal("nothing is mounted at /", 'Add a partition or volume with mount "/"')
        parts = {p.mount for p in self.parts}
        if "/boot" not in parts and ("/" not in parts or self.raid not in (None, 1)):
            raise Refusal(
                "GRUB cannot read / where it is on LVM or on a raid other than 1", 'Add a partition "/boot" of 1G'
            )

    def _groups(self) -> None:
        groups = [p.vg for p in self.parts if p.vg]
        if unknown := {v.vg for v in self.volumes} - set(groups):
            raise Refusal(
                f"volume group {min(unknown)} is on no partition", "Add a partition with mount lvm and that vg"
            )
        if len(set(groups)) != len(groups):
            raise Refusal("a volume group is on two partitions", "Name each once")
        names = [(v.vg, v.name) for v in self.volumes]
        if len(set(names)) != len(names):
            raise Refusal("two volumes of a group have the same name", "Rename one")


def autosetup(storage: Storage, drives: Sequence[str], *, hostname: str, image: str, uefi: bool) -> str:
    """The file for `installimage -a -c`. `drives` are the kernel's names of `storage.disks`, in order."""
    if len(drives) != len(storage.disks):
        raise ValueError(f"{len(storage.disks)} disks and {len(drives)} drives")
    for text, form in ((hostname, _HOSTNAME), (image, _IMAGE), *((d, _WORD) for d in drives)):
        if not form.fullmatch(text):
            raise ValueError(f"{text!r} cannot stand in an autosetup file")
    lines = [f"DRIVE{at} /dev/{drive}" for at, drive in enumerate(drives, start=1)]
    lines.append(f"SWRAID {0 if storage.raid is None else 1}")
    if storage.raid is not None:
        lines.append(f"SWRAIDLEVEL {storage.raid}")
    lines += ["BOOTLOADER grub", f"HOSTNAME {hostname}"]
    # Which firmware a server has is found out in its rescue system: UEFI needs its partition, a BIOS takes none.
    parts = [p for p in storage.parts if p.mount != ESP or uefi]
    if uefi and all(p.mount != ESP for p in parts):
        parts.insert(0, Part(mount=ESP, fs="esp", size=f"{ESP_MIB}M"))
    lines += [p.line() for p in parts]
    lines += [v.line() for v in storage.volumes]
    lines.append(f"IMAGE {image}")
    return "\n".join(lines) + "\n"
