"""Servers: read, rename, delete, and every action that a machine answers to."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator, BaseModel

from infra.emulator.cloud import Cloud, require
from infra.emulator.errors import ApiError, invalid, not_found
from infra.emulator.model import Action, Server
from infra.emulator.resources import placement_groups, private_net
from infra.emulator.resources.common import (
    Update,
    action_routes,
    apply_update,
    pick,
    resource_routes,
)
from infra.emulator.resources.primary_ips import Pointer, point
from infra.emulator.resources.server_create import check_hostname, create, find_image, find_server_type
from infra.emulator.resources.server_view import render
from infra.emulator.web import action_answer, action_json, cloud_of, listed, read

# How long a host may take to power off in an orderly way before its plug is pulled.
SHUTDOWN_SECONDS = 30.0


class ServerUpdate(Update):
    name: Annotated[str, AfterValidator(check_hostname)] | None = None


class Attach(BaseModel):
    network: int
    ip: str | None = None
    alias_ips: list[str] = []


class Detach(BaseModel):
    network: int


class Aliases(BaseModel):
    network: int
    alias_ips: list[str]


class Protection(BaseModel):
    delete: bool | None = None
    rebuild: bool | None = None


class Rebuild(BaseModel):
    image: str | int


class ChangeType(BaseModel):
    server_type: str | int
    upgrade_disk: bool = False


class JoinGroup(BaseModel):
    placement_group: int


async def index(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    servers = list(cloud.db.servers.values())
    filters: dict[str, Callable[[Server], object]] = {"name": lambda s: s.name, "status": cloud.observe}
    return listed(request, "servers", servers, lambda s: render(cloud, s), filters)


async def show(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    return web.json_response({"server": render(cloud, pick(request, cloud.db.servers, "server"))})


async def update(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    server = pick(request, cloud.db.servers, "server")
    apply_update("server", server, await read(request, ServerUpdate), cloud.db.servers.values())
    return web.json_response({"server": render(cloud, server)})


async def delete(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    server = pick(request, cloud.db.servers, "server")
    if server.protection.delete:
        raise ApiError("protected", "server deletion is protected")
    cloud.actions.require_free("server", server.id)
    server.transition = "deleting"

    async def remove() -> None:
        try:
            await cloud.backend.delete(server.id)
        except Exception:
            server.transition, server.power = None, "off"
            raise
        cloud.release(server)

    action = cloud.actions.begin("delete_server", ("server", server.id), work=remove)
    return web.json_response({"action": action_json(action)})


Verb = Callable[[Cloud, Server, web.Request], Awaitable[Action]]


def _power(command: str, transition: str, work: Callable[[Cloud, Server], Awaitable[None]]) -> Verb:
    """A verb that moves the machine; the server is locked while it runs."""

    async def verb(cloud: Cloud, server: Server, request: web.Request) -> Action:
        cloud.actions.require_free("server", server.id)
        cloud.observe(server)
        server.transition = transition

        async def move() -> None:
            try:
                await work(cloud, server)
            finally:
                server.transition = None

        return cloud.actions.begin(command, ("server", server.id), work=move)

    return verb


async def _on(cloud: Cloud, server: Server) -> None:
    if not cloud.backend.alive(server.id):
        await cloud.backend.boot(cloud.spec(server))
    server.power = "on"


async def _off(cloud: Cloud, server: Server) -> None:
    server.power = "off"
    await cloud.backend.kill(server.id)


async def _shutdown(cloud: Cloud, server: Server) -> None:
    server.power = "off"
    await cloud.backend.shutdown(server.id, SHUTDOWN_SECONDS)


async def _reboot(cloud: Cloud, server: Server) -> None:
    await cloud.backend.shutdown(server.id, SHUTDOWN_SECONDS)
    await cloud.backend.boot(cloud.spec(server))
    server.power = "on"


async def _reset(cloud: Cloud, server: Server) -> None:
    await cloud.backend.kill(server.id)
    await cloud.backend.boot(cloud.spec(server))
    server.power = "on"


async def _rebuild_disk(cloud: Cloud, server: Server) -> None:
    await cloud.backend.delete(server.id)
    await cloud.backend.create(cloud.spec(server))
    await cloud.backend.boot(cloud.spec(server))
    server.power = "on"


def _rewire(cloud: Cloud, server: Server, command: str, *refs: tuple[str, int]) -> Action:
    """The state has changed already; bring the running machine in line with it."""

    async def work() -> None:
        if server.power == "on" and cloud.backend.alive(server.id):
            await cloud.backend.reconfigure(cloud.spec(server))

    return cloud.actions.begin(command, ("server", server.id), *refs, work=work)


async def _attach(cloud: Cloud, server: Server, request: web.Request) -> Action:
    body = await read(request, Attach)
    cloud.actions.require_free("server", server.id)
    private_net.attach(cloud, server, body.network, body.ip, body.alias_ips)
    return _rewire(cloud, server, "attach_to_network", ("network", body.network))


async def _detach(cloud: Cloud, server: Server, request: web.Request) -> Action:
    body = await read(request, Detach)
    cloud.actions.require_free("server", server.id)
    private_net.detach(server, body.network)
    return _rewire(cloud, server, "detach_from_network", ("network", body.network))


async def _aliases(cloud: Cloud, server: Server, request: web.Request) -> Action:
    body = await read(request, Aliases)
    cloud.actions.require_free("server", server.id)
    private_net.change_aliases(cloud, server, body.network, body.alias_ips)
    return _rewire(cloud, server, "change_alias_ips", ("network", body.network))


async def _protect(cloud: Cloud, server: Server, request: web.Request) -> Action:
    body = await read(request, Protection)
    wanted = server.protection.model_copy(update=body.model_dump(exclude_none=True))
    if wanted.delete != wanted.rebuild:
        raise invalid("rebuild", "delete and rebuild protection of a server must be equal")
    server.protection = wanted
    return cloud.actions.done("change_protection", ("server", server.id))


async def _pointer(cloud: Cloud, server: Server, request: web.Request) -> Action:
    body = await read(request, Pointer)
    for ident in filter(None, (server.ipv4, server.ipv6)):
        address = cloud.db.primary_ips[ident]
        if body.ip == address.ip or (address.type == "ipv6" and body.ip.startswith(address.ip.removesuffix("::/64"))):
            point(address, body)
            return cloud.actions.done("change_dns_ptr", ("server", server.id))
    raise not_found("IP of the server", body.ip)


async def _rebuild(cloud: Cloud, server: Server, request: web.Request) -> Action:
    body = await read(request, Rebuild)
    if server.protection.rebuild:
        raise ApiError("protected", "server rebuild is protected")
    cloud.actions.require_free("server", server.id)
    server.image = find_image(cloud, body.image).id
    return await _power("rebuild_server", "rebuilding", _rebuild_disk)(cloud, server, request)


async def _change_type(cloud: Cloud, server: Server, request: web.Request) -> Action:
    body = await read(request, ChangeType)
    if cloud.observe(server) != "off":
        raise ApiError("server_not_stopped", f"server {server.id} must be off for its type to change")
    server.server_type = find_server_type(body.server_type)
    return cloud.actions.done("change_server_type", ("server", server.id))


async def _join(cloud: Cloud, server: Server, request: web.Request) -> Action:
    group = require(cloud.db.placement_groups, "placement group", (await read(request, JoinGroup)).placement_group)
    if cloud.observe(server) != "off":
        raise ApiError("server_not_stopped", f"server {server.id} must be off to join a placement group")
    placement_groups.require_room(cloud, group)
    server.placement_group = group.id
    return cloud.actions.done("add_to_placement_group", ("server", server.id))


async def _leave(cloud: Cloud, server: Server, request: web.Request) -> Action:
    server.placement_group = None
    return cloud.actions.done("remove_from_placement_group", ("server", server.id))


VERBS: dict[str, Verb] = {
    "poweron": _power("start_server", "starting", _on),
    "poweroff": _power("stop_server", "stopping", _off),
    "shutdown": _power("shutdown_server", "stopping", _shutdown),
    "reboot": _power("reboot_server", "running", _reboot),
    "reset": _power("reset_server", "running", _reset),
    "rebuild": _rebuild,
    "change_type": _change_type,
    "attach_to_network": _attach,
    "detach_from_network": _detach,
    "change_alias_ips": _aliases,
    "change_protection": _protect,
    "change_dns_ptr": _pointer,
    "add_to_placement_group": _join,
    "remove_from_placement_group": _leave,
}


async def act(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    server = pick(request, cloud.db.servers, "server")
    command = request.match_info["command"]
    verb = VERBS.get(command)
    if verb is None:
        raise ApiError("not_found", f"servers have no action {command!r} in the emulator")
    return action_answer(await verb(cloud, server, request))


def routes() -> list[web.RouteDef]:
    return action_routes("servers", "server", act) + resource_routes("servers", index, create, show, update, delete)
