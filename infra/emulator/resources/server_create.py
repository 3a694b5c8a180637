"""`POST /servers`: everything is checked first; only then are addresses taken and a machine made."""

import re
from typing import Annotated, Any

from aiohttp import web
from pydantic import AfterValidator, BaseModel, Field

from infra.emulator.catalog import IMAGES, Image
from infra.emulator.cloud import Cloud, require
from infra.emulator.errors import ApiError, invalid, not_found, taken
from infra.emulator.model import PrimaryIp, Server
from infra.emulator.resources import placement_groups
from infra.emulator.resources.common import Labels, by_id_or_name
from infra.emulator.resources.primary_ips import allocate, place_of
from infra.emulator.resources.private_net import attach
from infra.emulator.resources.server_view import TYPES_BY_NAME, render
from infra.emulator.web import action_json, cloud_of, read

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
USER_DATA_MOST = 32 * 1024


def check_hostname(name: str) -> str:
    if not _HOSTNAME.fullmatch(name) or len(name) > 253:
        raise ValueError(f"{name!r} is not a valid hostname (RFC 1123)")
    return name


def _user_data(text: str | None) -> str | None:
    if text is not None and len(text.encode()) > USER_DATA_MOST:
        raise ValueError(f"{len(text.encode())} bytes: user_data may have at most {USER_DATA_MOST}")
    return text


class FirewallRef(BaseModel):
    firewall: int


class PublicNet(BaseModel):
    enable_ipv4: bool = True
    enable_ipv6: bool = True
    ipv4: int | None = None
    ipv6: int | None = None


class Create(BaseModel):
    name: Annotated[str, AfterValidator(check_hostname)]
    server_type: str | int
    image: str | int
    location: str | int | None = None
    datacenter: str | int | None = None
    start_after_create: bool = True
    placement_group: int | None = None
    ssh_keys: list[str | int] = []
    user_data: Annotated[str | None, AfterValidator(_user_data)] = None
    labels: Labels = {}
    volumes: list[int] = []
    networks: list[int] = []
    firewalls: list[FirewallRef] = []
    automount: bool = False
    public_net: PublicNet = Field(default_factory=PublicNet)


def find_image(cloud: Cloud, key: str | int) -> Image:
    image = next((i for i in IMAGES.values() if str(key) in (str(i.id), i.name)), None)
    if image is None:
        raise not_found("image", key)
    cloud.backend.check_image(image.name, image.suite)
    return image


def find_server_type(key: str | int) -> str:
    for kind in TYPES_BY_NAME.values():
        if str(key) in (str(kind.id), kind.name):
            return kind.name
    raise not_found("server_type", key)


def _own_ip(cloud: Cloud, ident: int | None, kind: str) -> PrimaryIp | None:
    if ident is None:
        return None
    address = require(cloud.db.primary_ips, "primary IP", ident)
    if address.type != kind:
        raise invalid(f"public_net.{kind}", f"primary IP {ident} is an {address.type}")
    if address.assignee_id is not None:
        raise ApiError(
            "primary_ip_already_assigned", f"primary IP {ident} is already assigned to server {address.assignee_id}"
        )
    return address


def _checked(cloud: Cloud, body: Create) -> Server:
    """The server as it would be, nothing taken yet."""
    db = cloud.db
    if any(s.name == body.name for s in db.servers.values()):
        raise taken("server")
    place = place_of(body.location, body.datacenter)
    keys = [by_id_or_name(db.ssh_keys, "SSH key", key) for key in body.ssh_keys]
    if body.placement_group is not None:
        placement_groups.require_room(cloud, require(db.placement_groups, "placement group", body.placement_group))
    for ref in body.firewalls:
        require(db.firewalls, "firewall", ref.firewall)
    for ident in body.volumes:
        volume = require(db.volumes, "volume", ident)
        if volume.server is not None or volume.location != place.name:
            raise invalid("volumes", f"volume {ident} is attached elsewhere, or stands in {volume.location}")
    if not (body.public_net.enable_ipv4 or body.public_net.enable_ipv6 or body.networks):
        raise invalid("public_net", "a server needs a public address or a network")
    return Server(
        id=db.next_id + 1,
        name=body.name,
        labels=body.labels,
        server_type=find_server_type(body.server_type),
        image=find_image(cloud, body.image).id,
        location=place.name,
        user_data=body.user_data,
        authorized_keys=[key.public_key for key in keys],
        placement_group=body.placement_group,
    )


def _give_addresses(cloud: Cloud, server: Server, net: PublicNet) -> None:
    own4, own6 = _own_ip(cloud, net.ipv4, "ipv4"), _own_ip(cloud, net.ipv6, "ipv6")
    place = place_of(server.location, None)
    if net.enable_ipv4:
        ipv4 = own4 or allocate(cloud, "ipv4", f"primary_ip-{server.id}-4", place, auto_delete=True)
        ipv4.assignee_id, server.ipv4 = server.id, ipv4.id
    if net.enable_ipv6:
        ipv6 = own6 or allocate(cloud, "ipv6", f"primary_ip-{server.id}-6", place, auto_delete=True)
        ipv6.assignee_id, server.ipv6 = server.id, ipv6.id


async def create(request: web.Request) -> web.Response:
    body, cloud = await read(request, Create), cloud_of(request)
    server = _checked(cloud, body)
    server.id = cloud.store.new_id()
    before = cloud.db.model_copy(deep=True)
    cloud.db.servers[server.id] = server
    try:
        _give_addresses(cloud, server, body.public_net)
        for network in body.networks:
            attach(cloud, server, network, None, [])
    except ApiError:
        cloud.db.servers, cloud.db.primary_ips = before.servers, before.primary_ips
        raise
    for ref in body.firewalls:
        cloud.db.firewalls[ref.firewall].servers.append(server.id)
    for ident in body.volumes:
        cloud.db.volumes[ident].server = server.id
    return web.json_response(_start(cloud, server, body), status=201)


def _start(cloud: Cloud, server: Server, body: Create) -> dict[str, Any]:
    """The actions of a creation. The first makes the disk and boots it; the second is its visible end."""
    server.transition = "initializing"
    server.power = "on" if body.start_after_create else "off"

    async def make() -> None:
        try:
            spec = cloud.spec(server)
            await cloud.backend.create(spec)
            if body.start_after_create:
                server.transition = "starting"
                await cloud.backend.boot(cloud.spec(server))
        except Exception:
            server.power = "off"
            raise
        finally:
            server.transition = None

    action = cloud.actions.begin("create_server", ("server", server.id), work=make)
    followers = [cloud.actions.done("start_server", ("server", server.id))] if body.start_after_create else []
    return {
        "server": render(cloud, server),
        "action": action_json(action),
        "next_actions": [action_json(a) for a in followers],
        # Hetzner makes one up where no key is named; sshd here takes keys only, so there is none to hand out.
        "root_password": None,
    }
