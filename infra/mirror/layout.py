"""Where the mirror keeps things in the cache."""

from pathlib import Path

from infra.mirror.manifest import Artefact
from infra.paths import cache_dir


def root() -> Path:
    """The store: <name>/<version>/<file>, and nothing that was not checked."""
    return cache_dir() / "artefacts"


def folder(artefact: Artefact) -> Path:
    """Where one artefact lies once it is in the store."""
    return root() / artefact.name / artefact.version


def scratch() -> Path:
    """Where builds work: on the store's file system, so that a finished build enters the store by a rename."""
    return cache_dir() / "build"
