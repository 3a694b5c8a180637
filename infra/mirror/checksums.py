"""sha256 of files, and the word for a file that is not there."""

import hashlib
from pathlib import Path

MISSING = "missing"


def sha256(file: Path) -> str:
    """Digest of every byte of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def found(file: Path) -> str:
    """Digest of a file, or that it is missing."""
    return sha256(file) if file.is_file() else MISSING
