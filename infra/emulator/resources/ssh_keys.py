"""SSH keys of the account: stored as given, known by their MD5 fingerprint."""

import base64
import binascii
import hashlib
import struct
from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator, BaseModel

from infra.emulator.errors import taken
from infra.emulator.model import SshKey
from infra.emulator.resources.common import (
    Labels,
    Name,
    Update,
    apply_update,
    dumped,
    pick,
    require_unused,
    resource_routes,
)
from infra.emulator.web import cloud_of, listed, read

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


def _check(public_key: str) -> str:
    blob_of(public_key)
    return public_key.strip()


class Create(BaseModel):
    name: Name
    public_key: Annotated[str, AfterValidator(_check)]
    labels: Labels = {}


async def create(request: web.Request) -> web.Response:
    body, cloud = await read(request, Create), cloud_of(request)
    require_unused("SSH key", body.name, cloud.db.ssh_keys.values())
    mark = fingerprint(body.public_key)
    if any(k.fingerprint == mark for k in cloud.db.ssh_keys.values()):
        raise taken("SSH key", "fingerprint")
    key = SshKey(id=cloud.store.new_id(), fingerprint=mark, **body.model_dump())
    cloud.db.ssh_keys[key.id] = key
    return web.json_response({"ssh_key": dumped(key)}, status=201)


async def show(request: web.Request) -> web.Response:
    return web.json_response({"ssh_key": dumped(pick(request, cloud_of(request).db.ssh_keys, "SSH key"))})


async def index(request: web.Request) -> web.Response:
    keys = list(cloud_of(request).db.ssh_keys.values())
    return listed(request, "ssh_keys", keys, dumped, {"name": lambda k: k.name, "fingerprint": lambda k: k.fingerprint})


async def update(request: web.Request) -> web.Response:
    table = cloud_of(request).db.ssh_keys
    key = pick(request, table, "SSH key")
    apply_update("SSH key", key, await read(request, Update), table.values())
    return web.json_response({"ssh_key": dumped(key)})


async def delete(request: web.Request) -> web.Response:
    table = cloud_of(request).db.ssh_keys
    del table[pick(request, table, "SSH key").id]
    return web.Response(status=204)


def routes() -> list[web.RouteDef]:
    return resource_routes("ssh_keys", index, create, show, update, delete)
