"""Volumes: kept as state. No block device appears in a machine; a site that needs one is told so by its absence."""

from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from infra.emulator.cloud import require
from infra.emulator.errors import ApiError, invalid
from infra.emulator.model import Volume
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
from infra.emulator.resources.primary_ips import place_of
from infra.emulator.web import action_answer, action_json, cloud_of, listed, read


class Create(BaseModel):
    name: Name
    size: int = Field(ge=10, le=10240)
    labels: Labels = {}
    location: str | int | None = None
    server: int | None = None
    automount: bool = False
    format: Literal["xfs", "ext4"] | None = None


class Attach(BaseModel):
    server: int
    automount: bool = False


class Resize(BaseModel):
    size: int = Field(le=10240)


def render(volume: Volume) -> dict[str, Any]:
    return {
        **volume.model_dump(exclude={"location"}),
        "status": "available",
        "linux_device": f"/dev/disk/by-id/scsi-0HC_Volume_{volume.id}",
        "location": place_of(volume.location, None).json(),
    }


async def create(request: web.Request) -> web.Response:
    body, cloud = await read(request, Create), cloud_of(request)
    require_unused("volume", body.name, cloud.db.volumes.values())
    if body.server is None and body.location is None:
        raise invalid("location", "required where no server is named")
    server = require(cloud.db.servers, "server", body.server) if body.server is not None else None
    volume = Volume(
        id=cloud.store.new_id(),
        name=body.name,
        labels=body.labels,
        size=body.size,
        format=body.format,
        location=server.location if server else place_of(body.location, None).name,
        server=body.server,
    )
    cloud.db.volumes[volume.id] = volume
    refs = [("volume", volume.id)] + ([("server", server.id)] if server else [])
    followers = [action_json(cloud.actions.done("attach_volume", *refs))] if server else []
    action = action_json(cloud.actions.done("create_volume", *refs))
    return web.json_response({"volume": render(volume), "action": action, "next_actions": followers}, status=201)


async def index(request: web.Request) -> web.Response:
    filters = {"name": lambda v: v.name, "status": lambda v: "available"}
    return listed(request, "volumes", list(cloud_of(request).db.volumes.values()), render, filters)


async def show(request: web.Request) -> web.Response:
    return web.json_response({"volume": render(pick(request, cloud_of(request).db.volumes, "volume"))})


async def update(request: web.Request) -> web.Response:
    table = cloud_of(request).db.volumes
    volume = pick(request, table, "volume")
    apply_update("volume", volume, await read(request, Update), table.values())
    return web.json_response({"volume": render(volume)})


async def delete(request: web.Request) -> web.Response:
    table = cloud_of(request).db.volumes
    volume = pick(request, table, "volume")
    if volume.protection.delete:
        raise ApiError("protected", "volume is protected against deletion")
    if volume.server is not None:
        raise ApiError("resource_in_use", f"volume is attached to server {volume.server}: detach it first")
    del table[volume.id]
    return web.Response(status=204)


async def act(request: web.Request) -> web.Response:
    cloud = cloud_of(request)
    volume = pick(request, cloud.db.volumes, "volume")
    command = request.match_info["command"]
    refs = [("volume", volume.id)]
    match command:
        case "attach":
            if volume.server is not None:
                raise ApiError("volume_already_attached", f"volume is already attached to server {volume.server}")
            server = require(cloud.db.servers, "server", (await read(request, Attach)).server)
            if server.location != volume.location:
                raise invalid("server", f"server stands in {server.location}, volume in {volume.location}")
            volume.server = server.id
            refs.append(("server", server.id))
        case "detach":
            if volume.server is None:
                raise invalid("server", "volume is not attached")
            refs.append(("server", volume.server))
            volume.server = None
        case "resize":
            size = (await read(request, Resize)).size
            if size <= volume.size:
                raise invalid("size", f"{size} GB: a volume can only grow beyond its {volume.size} GB")
            volume.size = size
        case "change_protection":
            volume.protection.delete = (await read(request, Protect)).delete
        case _:
            raise ApiError("not_found", f"volumes have no action {command!r}")
    return action_answer(cloud.actions.done(f"{command}_volume" if "_" not in command else command, *refs))


def routes() -> list[web.RouteDef]:
    return action_routes("volumes", "volume", act) + resource_routes("volumes", index, create, show, update, delete)
