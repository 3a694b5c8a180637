"""One emulator instance on disk: where its state, logs, machines and process references are."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.emulator.errors import EmulatorError
from infra.paths import cache_dir, repo_root, state_dir

# Also part of a network namespace's, a cgroup's and a machine's name.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")


@dataclass(frozen=True)
class Instance:
    name: str
    folder: Path

    @classmethod
    def at(cls, name: str, stack_state: Path | None = None) -> "Instance":
        """The instance of that name; `stack_state` is the folder of the stack's run state."""
        if not _NAME.fullmatch(name):
            raise EmulatorError(f"{name!r} cannot name an emulator: lower-case letters, digits and hyphens, at most 24")
        return cls(name, (stack_state or state_dir(name)).resolve() / "emulator")

    @property
    def state_file(self) -> Path:
        return self.folder / "state.json"

    @property
    def machines(self) -> Path:
        return self.folder / "machines"

    @property
    def logs(self) -> Path:
        return self.folder / "log"

    @property
    def run(self) -> Path:
        """References to running processes."""
        return self.folder / "run"

    @property
    def daemon_ref(self) -> Path:
        return self.run / "daemon.json"

    @property
    def settings(self) -> Path:
        """What the daemon was started with, for those that want to talk to it."""
        return self.run / "settings.json"

    @property
    def robot_login(self) -> Path:
        """User and password of the Robot webservice, a line each."""
        return self.folder / "robot.login"

    @property
    def lock(self) -> Path:
        """Held by the daemon as long as it lives."""
        return self.folder / "lock"

    @property
    def start_lock(self) -> Path:
        """Held by whoever starts or stops it."""
        return self.folder / "start.lock"

    @property
    def apt_cache(self) -> Path:
        # One squid a folder: two that share one spoil each other's index.
        return cache_dir() / "apt" / self.name

    @property
    def images(self) -> Path:
        return cache_dir() / "images"

    def make(self) -> None:
        for folder in (self.folder, self.logs, self.run):
            folder.mkdir(parents=True, exist_ok=True)


@cache
def source_digest() -> str:
    """Of the code that the daemon and its mirror run: one that runs older code is replaced when next asked for."""
    digest = hashlib.sha256()
    for package in ("emulator", "mirror"):
        for file in sorted((repo_root() / "infra" / package).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
