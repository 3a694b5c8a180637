"""/key: SSH keys of the account, known by their MD5 fingerprint."""

import base64
import binascii
import struct
from typing import Any

from infra.emulator.key_text import blob_of, fingerprint
from infra.emulator.robot.account import Account
from infra.emulator.robot.errors import RobotRefusal, invalid_input, not_found
from infra.emulator.robot.form import Call
from infra.emulator.robot.model import RobotKey

TYPES = {
    "ssh-ed25519": "ED25519",
    "ssh-rsa": "RSA",
    "ecdsa-sha2-nistp256": "ECDSA",
    "ecdsa-sha2-nistp384": "ECDSA",
    "ecdsa-sha2-nistp521": "ECDSA",
}


def parse(name: str, data: str, created_at: str) -> RobotKey:
    try:
        blob_of(data)
    except ValueError:
        raise invalid_input(invalid=("data",)) from None
    kind = data.split()[0]
    if kind not in TYPES:
        raise invalid_input(invalid=("data",))
    return RobotKey(
        name=name,
        fingerprint=fingerprint(data),
        type=TYPES[kind],
        size=_bits(kind, data),
        # Hetzner keeps type and key, and drops the comment.
        data=" ".join(data.split()[:2]),
        created_at=created_at,
    )


def _bits(kind: str, data: str) -> int:
    if kind == "ssh-ed25519":
        return 256
    if kind.startswith("ecdsa"):
        return int(kind.removeprefix("ecdsa-sha2-nistp"))
    blob = base64.b64decode(data.split()[1])
    at, parts = 0, []
    try:
        while at < len(blob):
            (length,) = struct.unpack_from(">I", blob, at)
            parts.append(blob[at + 4 : at + 4 + length])
            at += 4 + length
        return int.from_bytes(parts[2]).bit_length()
    except (struct.error, IndexError, binascii.Error):
        raise invalid_input(invalid=("data",)) from None


def _find(account: Account, call: Call) -> RobotKey:
    key = account.db.keys.get(call.at["fingerprint"].lower())
    if key is None:
        raise not_found("key not found")
    return key


async def index(account: Account, _call: Call) -> Any:
    if not account.db.keys:
        raise not_found("no keys found")
    return [{"key": key.model_dump()} for key in account.db.keys.values()]


async def create(account: Account, call: Call) -> Any:
    key = parse(call.need("name"), call.need("data"), account.stamp())
    if key.fingerprint in account.db.keys:
        raise RobotRefusal(409, "KEY_ALREADY_EXISTS", "the supplied key already exists")
    account.db.keys[key.fingerprint] = key
    return {"key": key.model_dump()}


async def show(account: Account, call: Call) -> Any:
    return {"key": _find(account, call).model_dump()}


async def rename(account: Account, call: Call) -> Any:
    key = _find(account, call)
    key.name = call.need("name")
    return {"key": key.model_dump()}


async def delete(account: Account, call: Call) -> Any:
    del account.db.keys[_find(account, call).fingerprint]
    return None
