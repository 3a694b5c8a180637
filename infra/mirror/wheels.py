"""Wheels of a lock file, for the hosts' Python and platform, whatever Python this machine runs.

Each wheel is held to a hash that the lock names. Environment markers are evaluated for the hosts here: pip would
evaluate them for the machine it runs on.
"""

import os
import re
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from infra.mirror import clients
from infra.mirror.checksums import MISSING, sha256
from infra.mirror.errors import MirrorError
from infra.mirror.layout import scratch
from infra.mirror.manifest import Artefact, Wheels
from infra.paths import repo_root

_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)\s*(?:;\s*(?P<marker>[^\\]+?))?\s*\\?$"
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Pin:
    """One requirement of a lock: exact version, accepted hashes, and the environments that want it."""

    name: str
    version: str
    marker: str
    hashes: frozenset[str]

    @property
    def spelled(self) -> str:
        return f"{self.name}=={self.version}"


def parse_lock(text: str) -> list[Pin]:
    """Pins of a requirements file with hashes, as `uv pip compile --generate-hashes` writes it."""
    pins: list[Pin] = []
    head: re.Match[str] | None = None
    hashes: set[str] = set()
    for line in [*text.splitlines(), "end==0"]:
        if line.startswith("#") or not line.strip():
            continue
        # Hashes may follow on the same line.
        if match := _PIN.match(line.partition(" --hash")[0]):
            if head:
                pins.append(
                    Pin(canonicalize_name(head["name"]), head["version"], head["marker"] or "", frozenset(hashes))
                )
            head, hashes = match, set()
        hashes.update(_HASH.findall(line))
    return pins


def wanted(recipe: Wheels, text: str) -> list[Pin]:
    """The pins whose marker holds on the hosts."""
    target: dict[str, str | AbstractSet[str]] = {
        "implementation_name": "cpython",
        "implementation_version": f"{recipe.python}.0",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{recipe.python}.0",
        "python_version": recipe.python,
        "sys_platform": "linux",
    }
    return [p for p in parse_lock(text) if not p.marker or Marker(p.marker).evaluate(target)]


def faults(recipe: Wheels, folder: Path) -> Iterator[tuple[str, str, str]]:
    """(file, expected, found) of each wheel that is missing or is none of those the lock accepts."""
    have: dict[tuple[str, str], Path] = {}
    for file in sorted(folder.glob("*.whl")) if folder.is_dir() else []:
        try:
            name, version, _, _ = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            continue
        have[name, str(version)] = file
    for pin in wanted(recipe, (repo_root() / recipe.lock).read_text()):
        wheel = have.get((pin.name, pin.version))
        if wheel is None:
            yield pin.spelled, f"one of {len(pin.hashes)} hashes in {recipe.lock}", MISSING
        elif (digest := sha256(wheel)) not in pin.hashes:
            yield wheel.name, f"one of {len(pin.hashes)} hashes in {recipe.lock}", digest


def download(artefact: Artefact, recipe: Wheels, staged: Path) -> None:
    """Every wheel that the hosts need, into `staged`."""
    pins = wanted(recipe, (repo_root() / recipe.lock).read_text())
    unpinned = [p.spelled for p in pins if not p.hashes]
    if unpinned:
        raise MirrorError(
            artefact.name, f"{recipe.lock} has no hash for {', '.join(unpinned)}", mend="run infra/lock.sh"
        )
    _pip_download(artefact.name, pins, staged, recipe.python, recipe.platforms)


def download_one(artefact: str, name: str, version: str, digest: str, target: Path) -> Path:
    """One wheel by its hash, into `target`."""
    pin = Pin(canonicalize_name(name), version, "", frozenset({digest}))
    _pip_download(artefact, [pin], target, "", ["manylinux_2_17_x86_64"])
    return next(target.glob("*.whl"))


def _pip_download(artefact: str, pins: list[Pin], target: Path, python: str, platforms: list[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    wanted_file = target / "requirements.txt"
    wanted_file.write_text(
        "".join(f"{p.spelled} {' '.join(f'--hash=sha256:{h}' for h in sorted(p.hashes))}\n" for p in pins)
    )
    command = [*_pip(artefact), "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    command += [f"--platform={p}" for p in [*platforms, "any"]]
    command += [f"--python-version={python}", "--implementation=cp"] if python else []
    command += [f"--dest={target}", f"--requirement={wanted_file}"]
    clients.run(artefact, command, target, os.environ, "downloading wheels")
    wanted_file.unlink()


def _pip(artefact: str) -> list[str]:
    """pip of this environment, or (where the lock's sync removed it) of one made for the purpose."""
    try:
        import pip  # noqa: F401
    except ImportError:
        home = scratch() / "pip"
        if not (home / "bin" / "pip").is_file():
            home.parent.mkdir(parents=True, exist_ok=True)
            clients.run(
                artefact, [sys.executable, "-m", "venv", str(home)], home.parent, os.environ, "making pip's venv"
            )
        return [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
