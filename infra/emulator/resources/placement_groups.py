"""Placement groups: names for servers that should not stand on the same hardware."""

from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel

from infra.emulator.cloud import Cloud
from infra.emulator.errors import ApiError
from infra.emulator.model import PlacementGroup
from infra.emulator.resources.common import (
    Labels,
    Name,
    Update,
    apply_update,
    pick,
    require_unused,
    resource_routes,
)
from infra.emulator.web import cloud_of, listed, read

# Hetzner's limit for a spread group.
SERVERS_MOST = 10


class Create(BaseModel):
    name: Name
    type: Literal["spread"]
    labels: Labels = {}


def members(cloud: Cloud, group: int) -> list[int]:
    return [s.id for s in cloud.db.servers.values() if s.placement_group == group]


def render(cloud: Cloud, group: PlacementGroup) -> dict[str, Any]:
    return {**group.model_dump(), "servers": members(cloud, group.id)}


def require_room(cloud: Cloud, group: PlacementGroup) -> None:
    if len(members(cloud, group.id)) >= SERVERS_MOST:
        raise ApiError("resource_limit_exceeded", f"placement group {group.name} already has {SERVERS_MOST} servers")


async def create(request: web.Request) -> web.Response:
    body, cloud = await read(request, Create), cloud_of(request)
    require_unused("placement group", body.name, cloud.db.placement_groups.values())
    group = PlacementGroup(id=cloud.store.new_id(), **body.model_dump())
    cloud.db.placement_groups[group.id] = group
    return web.json_response({"placement_group": render(cloud, group), "action": None}, status=201)


async def index(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    groups = list(cloud.db.placement_groups.values())
    filters = {"name": lambda g: g.name, "type": lambda g: g.type}
    return listed(request, "placement_groups", groups, lambda g: render(cloud, g), filters)


async def show(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    return web.json_response(
        {"placement_group": render(cloud, pick(request, cloud.db.placement_groups, "placement group"))}
    )


async def update(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    table = cloud.db.placement_groups
    group = pick(request, table, "placement group")
    apply_update("placement group", group, await read(request, Update), table.values())
    return web.json_response({"placement_group": render(cloud, group)})


async def delete(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    group = pick(request, cloud.db.placement_groups, "placement group")
    if members(cloud, group.id):
        raise ApiError("resource_in_use", f"placement group with ID '{group.id}' still has servers")
    del cloud.db.placement_groups[group.id]
    return web.Response(status=204)


def routes() -> list[web.RouteDef]:
    return resource_routes("placement_groups", index, create, show, update, delete)
