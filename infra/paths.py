"""Where things lie: the clone, a site's run state inside it, and the cache outside it."""

import os
from pathlib import Path


def repo_root() -> Path:
    """The folder that holds pyproject.toml."""
    return Path(__file__).resolve().parent.parent


def state_dir(stack: str) -> Path:
    """Run state of one site: operator key, rendered ssh_config and known_hosts, the emulator's files, logs."""
    return repo_root() / ".baretick" / stack


def cache_dir() -> Path:
    """What outlives clones: artefacts, base images, the apt proxy's cache, build scratch."""
    chosen = os.environ.get("BARETICK_CACHE")
    return Path(chosen).expanduser().resolve() if chosen else Path.home() / ".cache" / "baretick"
