"""SSH public keys: the MD5 fingerprint that Robot knows them by, and the SHA256 one that ssh shows."""

import base64
import binascii
import hashlib

from infra.robot.errors import RobotError


def blob_of(public_key: str) -> bytes:
    """The key's wire form; raises RobotError where the text is no OpenSSH public key."""
    parts = public_key.split()
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (IndexError, binascii.Error):
        blob = b""
    # The wire form begins with the length of the type's name, and that name.
    if not blob or blob[4 : 4 + int.from_bytes(blob[:4])] != parts[0].encode():
        raise RobotError("key", "this is no OpenSSH public key: give the one line of a .pub file")
    return blob


def fingerprint(public_key: str) -> str:
    """MD5 in hex with colons."""
    digest = hashlib.md5(blob_of(public_key), usedforsecurity=False).hexdigest()
    return ":".join(digest[i : i + 2] for i in range(0, 32, 2))


def sha256(public_key: str) -> str:
    """As `ssh-keygen -l` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob_of(public_key)).digest()).decode().rstrip("=")
