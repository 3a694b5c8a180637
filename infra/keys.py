"""SSH key pairs: the hosts' own, and the operator's where the site is emulated and brings none."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 pair in OpenSSH's forms."""

    public: str
    private: str = field(repr=False)


def generate(comment: str) -> KeyPair:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return KeyPair(_public(key, comment), private)


def operator_key(private: Path, comment: str) -> str:
    """The public key of the operator's pair at that path; the pair is made where it is missing."""
    if not private.exists():
        private.parent.mkdir(parents=True, exist_ok=True)
        _write(private, generate(comment).private, 0o600)
    key = load_ssh_private_key(private.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey), f"{private} holds another kind of key than the one that was made here"
    public = _public(key, comment)
    _write(private.with_name(private.name + ".pub"), public + "\n", 0o644)
    return public


def _public(key: Ed25519PrivateKey, comment: str) -> str:
    return f"{key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()} {comment}"


def _write(path: Path, text: str, mode: int) -> None:
    scratch = path.with_name(path.name + ".new")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    scratch.replace(path)
