"""SSH keys of the account: stored as given, known by their MD5 fingerprint."""

from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator, BaseModel

from infra.emulator.errors import taken
from infra.emulator.key_text import blob_of, fingerprint
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
