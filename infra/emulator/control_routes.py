"""The emulator's own routes under /_emulator/: health, machines, the plug of a machine, forwards. Loopback only."""

import os
from typing import Annotated, Any

from aiohttp import web
from pydantic import AfterValidator, BaseModel, RootModel

from infra.emulator.errors import not_found
from infra.emulator.gateway import Gateway
from infra.emulator.instance import Instance, source_digest
from infra.emulator.model import Forward, Server
from infra.emulator.relay import parse_address
from infra.emulator.web import cloud_of, read

INSTANCE = web.AppKey("instance", Instance)
GATEWAY = web.AppKey("gateway", Gateway)
ROBOT_PORT = web.AppKey("robot port", int)


def _address(text: str) -> str:
    parse_address(text)
    return text


def _loopback(text: str) -> str:
    if not parse_address(text)[0].startswith("127."):
        raise ValueError(f"{text!r} is not on loopback; forwards listen there and nowhere else")
    return text


class ForwardBody(BaseModel):
    listen: Annotated[str, AfterValidator(_loopback)]
    to: Annotated[str, AfterValidator(_address)]


class Forwards(RootModel[list[ForwardBody]]):
    pass


async def health(request: web.Request) -> web.Response:
    cloud, instance, gateway = cloud_of(request), request.app[INSTANCE], request.app[GATEWAY]
    return web.json_response(
        {
            "name": instance.name,
            "folder": str(instance.folder),
            "pid": os.getpid(),
            "machines": cloud.backend.kind,
            "robot_port": request.app[ROBOT_PORT],
            "source": source_digest(),
            "servers": len(cloud.db.servers),
            "dedicated": len(cloud.db.robot.servers),
            "children": {c.name: {"pid": c.pid, "restarts": c.restarts} for c in gateway.children},
            "forwards": [f.model_dump() for f in cloud.db.forwards],
        }
    )


def _machine(request: web.Request, server: Server) -> dict[str, Any]:
    cloud = cloud_of(request)
    info = cloud.backend.info(server.id)
    address = cloud.db.primary_ips[server.ipv4].ip if server.ipv4 else None
    status = cloud.observe(server)
    return {
        "id": server.id,
        "name": server.name,
        "pid": info.pid,
        "init_pid": info.init_pid,
        "boots": info.boots,
        "status": status,
        "state": status,
        "public_ipv4": address,
        "private_ips": [net.ip for net in server.private_net],
        "console": str(request.app[INSTANCE].machines / str(server.id) / "console.log"),
    }


async def machines(request: web.Request) -> web.Response:
    return web.json_response({"machines": [_machine(request, s) for s in cloud_of(request).db.servers.values()]})


async def kill(request: web.Request) -> web.Response:
    """SIGKILL to all of the machine. Nothing is recorded: that it died is found out as it would be anywhere."""
    cloud, wanted = cloud_of(request), request.match_info["name"]
    for server in cloud.db.servers.values():
        if wanted in (server.name, str(server.id)):
            await cloud.backend.kill(server.id)
            return web.json_response({"machine": _machine(request, server)})
    raise not_found("machine", wanted)


async def set_forwards(request: web.Request) -> web.Response:
    body = await read(request, Forwards)
    forwards = [Forward(listen=f.listen, to=f.to) for f in body.root]
    await request.app[GATEWAY].set_forwards(forwards)
    cloud_of(request).db.forwards = forwards
    return web.json_response({"forwards": [f.model_dump() for f in forwards]})


def routes() -> list[web.RouteDef]:
    return [
        web.get("/_emulator/health", health),
        web.get("/_emulator/machines", machines),
        web.post("/_emulator/machines/{name}/kill", kill),
        web.put("/_emulator/forwards", set_forwards),
    ]
