"""Private networks: address range, subnets, routes. With machines, each is a bridge with its gateway on it."""

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import AfterValidator, BaseModel

from infra.emulator.addresses import PUBLIC_RANGE, gateway_of
from infra.emulator.catalog import LOCATIONS
from infra.emulator.cloud import Cloud
from infra.emulator.errors import ApiError, invalid, not_found
from infra.emulator.model import Network, Route, Subnet
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
from infra.emulator.web import action_answer, cloud_of, listed, read

PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
ZONES = {place.network_zone for place in LOCATIONS.values()}


def _range(text: str) -> str:
    net = IPv4Network(text)  # its ValueError says what is wrong (host bits set, not an address)
    if not any(net.subnet_of(private) for private in PRIVATE):
        raise ValueError(f"{text} is not a private range (RFC 1918)")
    return str(net)


def _network_range(text: str) -> str:
    if IPv4Network(text).prefixlen > 24:
        raise ValueError(f"{text} is smaller than the least Hetzner gives (/24)")
    return _range(text)


Range = Annotated[str, AfterValidator(_range)]


class SubnetBody(BaseModel):
    type: Literal["cloud", "server", "vswitch"]
    network_zone: str
    ip_range: Range | None = None
    vswitch_id: int | None = None


class Create(BaseModel):
    name: Name
    ip_range: Annotated[str, AfterValidator(_network_range)]
    labels: Labels = {}
    subnets: list[SubnetBody] = []
    routes: list[Route] = []
    expose_routes_to_vswitch: bool = False


class NetworkUpdate(Update):
    expose_routes_to_vswitch: bool | None = None


class SubnetRef(BaseModel):
    ip_range: str


class NewRange(BaseModel):
    ip_range: Annotated[str, AfterValidator(_network_range)]


def render(cloud: Cloud, network: Network) -> dict[str, Any]:
    attached = [s.id for s in cloud.db.servers.values() if any(n.network == network.id for n in s.private_net)]
    return {**network.model_dump(), "servers": attached, "load_balancers": []}


def _add_subnet(network: Network, body: SubnetBody) -> None:
    whole = IPv4Network(network.ip_range)
    if body.network_zone not in ZONES:
        raise invalid("network_zone", f"{body.network_zone!r} is none of {', '.join(sorted(ZONES))}")
    if (body.type == "vswitch") != (body.vswitch_id is not None):
        raise invalid("vswitch_id", "belongs to a subnet of type vswitch, and only to one")
    others = [IPv4Network(s.ip_range) for s in network.subnets]
    if body.ip_range is None:
        free = (n for n in whole.subnets(new_prefix=24) if not any(n.overlaps(o) for o in others))
        wanted = next(free, None)
        if wanted is None:
            raise ApiError("no_subnet_available", f"no /24 is left in {whole}")
    else:
        wanted = IPv4Network(body.ip_range)
    if not wanted.subnet_of(whole):
        raise invalid("ip_range", f"{wanted} lies outside the network's {whole}")
    if clash := next((o for o in others if o.overlaps(wanted)), None):
        raise invalid("ip_range", f"{wanted} overlaps the existing subnet {clash}")
    network.subnets.append(
        Subnet(
            type=body.type,
            ip_range=str(wanted),
            network_zone=body.network_zone,
            gateway=gateway_of(network.ip_range),
            vswitch_id=body.vswitch_id,
        )
    )


def _require_own_range(cloud: Cloud, ip_range: str, but: int | None = None) -> None:
    """Machines of all networks are reached from one namespace: there, ranges must not overlap (Hetzner allows it)."""
    if cloud.backend.kind == "none":
        return
    wanted = IPv4Network(ip_range)
    for other in (PUBLIC_RANGE, *(IPv4Network(n.ip_range) for n in cloud.db.networks.values() if n.id != but)):
        if wanted.overlaps(other):
            raise invalid("ip_range", f"{wanted} overlaps {other}, which this emulator already routes")


async def create(request: web.Request) -> web.Response:
    body, cloud = await read(request, Create), cloud_of(request)
    require_unused("network", body.name, cloud.db.networks.values())
    _require_own_range(cloud, body.ip_range)
    network = Network(
        id=cloud.store.new_id(),
        name=body.name,
        labels=body.labels,
        ip_range=body.ip_range,
        routes=body.routes,
        expose_routes_to_vswitch=body.expose_routes_to_vswitch,
    )
    for subnet in body.subnets:
        _add_subnet(network, subnet)
    cloud.db.networks[network.id] = network
    await cloud.sync_networks()
    return web.json_response({"network": render(cloud, network)}, status=201)


async def index(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    networks = list(cloud.db.networks.values())
    return listed(request, "networks", networks, lambda n: render(cloud, n), {"name": lambda n: n.name})


async def show(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    return web.json_response({"network": render(cloud, pick(request, cloud.db.networks, "network"))})


async def update(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    network = pick(request, cloud.db.networks, "network")
    change = await read(request, NetworkUpdate)
    apply_update("network", network, change, cloud.db.networks.values())
    if change.expose_routes_to_vswitch is not None:
        network.expose_routes_to_vswitch = change.expose_routes_to_vswitch
    return web.json_response({"network": render(cloud, network)})


async def delete(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    network = pick(request, cloud.db.networks, "network")
    if network.protection.delete:
        raise ApiError("protected", "network is protected against deletion")
    for server in cloud.db.servers.values():
        if any(n.network == network.id for n in server.private_net):
            server.private_net = [n for n in server.private_net if n.network != network.id]
            if server.power == "on":
                await cloud.backend.reconfigure(cloud.spec(server))
    del cloud.db.networks[network.id]
    await cloud.sync_networks()
    return web.Response(status=204)


async def act(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    network = pick(request, cloud.db.networks, "network")
    command = request.match_info["command"]
    match command:
        case "add_subnet":
            _add_subnet(network, await read(request, SubnetBody))
        case "delete_subnet":
            _delete_subnet(cloud, network, (await read(request, SubnetRef)).ip_range)
        case "add_route":
            _add_route(network, await read(request, Route))
        case "delete_route":
            route = await read(request, Route)
            if route not in network.routes:
                raise not_found("route", route.destination)
            network.routes.remove(route)
        case "change_protection":
            network.protection.delete = (await read(request, Protect)).delete
        case "change_ip_range":
            await _change_range(cloud, network, (await read(request, NewRange)).ip_range)
        case _:
            raise ApiError("not_found", f"networks have no action {command!r}")
    return action_answer(cloud.actions.done(command, ("network", network.id)))


def _delete_subnet(cloud: Cloud, network: Network, ip_range: str) -> None:
    kept = [s for s in network.subnets if s.ip_range != ip_range]
    if len(kept) == len(network.subnets):
        raise not_found("subnet", ip_range)
    gone = IPv4Network(ip_range)
    if any(IPv4Address(ip) in gone for ip in cloud.used_private(network.id)):
        raise ApiError("resource_in_use", f"subnet {ip_range} still has servers in it")
    network.subnets = kept


def _add_route(network: Network, route: Route) -> None:
    try:
        IPv4Network(route.destination)
    except ValueError as error:
        raise invalid("destination", str(error)) from None
    if any(r.destination == route.destination for r in network.routes):
        raise invalid("destination", f"a route to {route.destination} exists already")
    network.routes.append(route)


async def _change_range(cloud: Cloud, network: Network, ip_range: str) -> None:
    whole = IPv4Network(ip_range)
    if not all(IPv4Network(s.ip_range).subnet_of(whole) for s in network.subnets):
        raise invalid("ip_range", f"{whole} does not hold every subnet of the network")
    _require_own_range(cloud, ip_range, but=network.id)
    network.ip_range = ip_range
    for subnet in network.subnets:
        subnet.gateway = gateway_of(ip_range)
    await cloud.sync_networks()


def routes() -> list[web.RouteDef]:
    return action_routes("networks", "network", act) + resource_routes("networks", index, create, show, update, delete)
