"""SSH public keys as text: their wire form, and the MD5 fingerprint by which both APIs know them."""

import base64
import binascii
import hashlib
import struct

KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def blob_of(public_key: str) -> bytes:
    """The key's wire form; ValueError where the text is no SSH public key."""
    parts = public_key.split()
    if len(parts) < 2 or parts[0] not in KEY_TYPES:
        raise ValueError("not an SSH public key: expected `<type> <base64> [comment]`")
    try:
        blob = base64.b64decode(parts[1], validate=True)
        (length,) = struct.unpack_from(">I", blob)
    except (binascii.Error, struct.error):
        raise ValueError("not an SSH public key: its second part is not base64 of a key") from None
    # The blob names its own type: a truncated or mislabelled key is caught here.
    if blob[4 : 4 + length] != parts[0].encode() or not _whole(blob):
        raise ValueError(f"not an SSH public key: the data is no whole {parts[0]} key")
    return blob


def _whole(blob: bytes) -> bool:
    at = 0
    while at + 4 <= len(blob):
        at += 4 + struct.unpack_from(">I", blob, at)[0]
    return at == len(blob)


def fingerprint(public_key: str) -> str:
    digest = hashlib.md5(blob_of(public_key), usedforsecurity=False).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, 32, 2))
