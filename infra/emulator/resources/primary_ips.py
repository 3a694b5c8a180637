"""Primary IPs: the public addresses of servers, made with them or before them."""

from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel

from infra.emulator.addresses import next_public
from infra.emulator.catalog import LOCATIONS, Location, datacenter_json
from infra.emulator.cloud import Cloud, require
from infra.emulator.errors import ApiError, invalid
from infra.emulator.model import PrimaryIp, Server
from infra.emulator.resources.common import (
    Labels,
    Name,
    Protect,
    Update,
    action_routes,
    apply_update,
    pick,
    require_unused,
    resource_routes,
)
from infra.emulator.web import action_answer, action_json, cloud_of, listed, read


class Create(BaseModel):
    name: Name
    type: Literal["ipv4", "ipv6"]
    labels: Labels = {}
    location: str | int | None = None
    datacenter: str | int | None = None
    assignee_type: Literal["server"] = "server"
    assignee_id: int | None = None
    auto_delete: bool = False


class PrimaryIpUpdate(Update):
    auto_delete: bool | None = None


class Assign(BaseModel):
    assignee_id: int
    assignee_type: Literal["server"] = "server"


class Pointer(BaseModel):
    ip: str
    dns_ptr: str | None


def place_of(location: str | int | None, datacenter: str | int | None) -> Location:
    """The place a request names, by location or by datacenter; Falkenstein where it names none."""
    for place in LOCATIONS.values():
        if str(location) in (place.name, str(place.id)) or str(datacenter) in map(str, place.datacenter):
            return place
    if location or datacenter:
        raise invalid("location" if location else "datacenter", f"{location or datacenter!r} does not exist")
    return LOCATIONS[1]


def allocate(cloud: Cloud, kind: Literal["ipv4", "ipv6"], name: str, place: Location, auto_delete: bool) -> PrimaryIp:
    ident = cloud.store.new_id()
    if kind == "ipv4":
        ip = next_public({p.ip for p in cloud.db.primary_ips.values()})
        pointers = [{"ip": ip, "dns_ptr": f"static.{'.'.join(reversed(ip.split('.')))}.clients.your-server.de"}]
    else:
        # RFC 3849: the documentation range, one /64 a server.
        ip, pointers = f"2001:db8:{ident >> 16:x}:{ident & 0xFFFF:x}::/64", []
    address = PrimaryIp(
        id=ident, name=name, type=kind, ip=ip, location=place.name, auto_delete=auto_delete, dns_ptr=pointers
    )
    cloud.db.primary_ips[ident] = address
    return address


def point(address: PrimaryIp, change: Pointer) -> None:
    address.dns_ptr = [p for p in address.dns_ptr if p["ip"] != change.ip]
    if change.dns_ptr is not None:
        address.dns_ptr.append({"ip": change.ip, "dns_ptr": change.dns_ptr})


def render(address: PrimaryIp) -> dict[str, Any]:
    place = place_of(address.location, None)
    return {
        **address.model_dump(exclude={"location"}),
        "assignee_type": "server",
        "location": place.json(),
        "datacenter": datacenter_json(place),
    }


def _assign(cloud: Cloud, address: PrimaryIp, ident: int) -> None:
    server = require(cloud.db.servers, "server", ident)
    if address.assignee_id is not None:
        raise ApiError(
            "primary_ip_already_assigned",
            f"primary IP {address.id} is already assigned to server {address.assignee_id}",
        )
    if getattr(server, address.type) is not None:
        raise ApiError(f"server_has_{address.type}", f"server {server.id} already has a primary {address.type}")
    _require_off(server)
    address.assignee_id = server.id
    setattr(server, address.type, address.id)


def _unassign(cloud: Cloud, address: PrimaryIp) -> None:
    if address.assignee_id is None:
        raise ApiError("primary_ip_not_assigned", f"primary IP {address.id} is not assigned")
    server = require(cloud.db.servers, "server", address.assignee_id)
    _require_off(server)
    setattr(server, address.type, None)
    address.assignee_id = None


def _require_off(server: Server) -> None:
    if server.power == "on":
        raise ApiError("server_not_stopped", f"server {server.id} must be off for its primary IPs to change")


async def create(request: web.Request) -> web.Response:
    body, cloud = await read(request, Create), cloud_of(request)
    require_unused("primary IP", body.name, cloud.db.primary_ips.values())
    address = allocate(cloud, body.type, body.name, place_of(body.location, body.datacenter), body.auto_delete)
    address.labels = body.labels
    action = None
    if body.assignee_id is not None:
        try:
            _assign(cloud, address, body.assignee_id)
        except ApiError:
            del cloud.db.primary_ips[address.id]
            raise
        refs = [("primary_ip", address.id), ("server", body.assignee_id)]
        action = action_json(cloud.actions.done("assign_primary_ip", *refs))
    return web.json_response({"primary_ip": render(address), "action": action}, status=201)


async def index(request: web.Request) -> web.Response:
    filters = {"name": lambda p: p.name, "ip": lambda p: p.ip, "type": lambda p: p.type}
    return listed(request, "primary_ips", list(cloud_of(request).db.primary_ips.values()), render, filters)


async def show(request: web.Request) -> web.Response:
    return web.json_response({"primary_ip": render(pick(request, cloud_of(request).db.primary_ips, "primary IP"))})


async def update(request: web.Request) -> web.Response:
    table = cloud_of(request).db.primary_ips
    address = pick(request, table, "primary IP")
    change = await read(request, PrimaryIpUpdate)
    apply_update("primary IP", address, change, table.values())
    if change.auto_delete is not None:
        address.auto_delete = change.auto_delete
    return web.json_response({"primary_ip": render(address)})


async def delete(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    address = pick(request, cloud.db.primary_ips, "primary IP")
    if address.protection.delete:
        raise ApiError("protected", "primary IP is protected against deletion")
    if address.assignee_id is not None:
        _unassign(cloud, address)
    del cloud.db.primary_ips[address.id]
    return web.Response(status=204)


async def act(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    address = pick(request, cloud.db.primary_ips, "primary IP")
    command = request.match_info["command"]
    refs = [("primary_ip", address.id)]
    match command:
        case "assign":
            _assign(cloud, address, (await read(request, Assign)).assignee_id)
            refs.append(("server", int(address.assignee_id or 0)))
        case "unassign":
            refs.append(("server", int(address.assignee_id or 0)))
            _unassign(cloud, address)
        case "change_protection":
            address.protection.delete = (await read(request, Protect)).delete
        case "change_dns_ptr":
            point(address, await read(request, Pointer))
        case _:
            raise ApiError("not_found", f"primary IPs have no action {command!r}")
    return action_answer(cloud.actions.done(f"{command}_primary_ip" if "assign" in command else command, *refs))


def routes() -> list[web.RouteDef]:
    return action_routes("primary_ips", "primary_ip", act) + resource_routes(
        "primary_ips", index, create, show, update, delete
    )
