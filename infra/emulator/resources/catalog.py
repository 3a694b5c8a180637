"""What can be bought: locations, datacenters, server types, images, prices. Read-only."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web

from infra.emulator import catalog
from infra.emulator.errors import not_found
from infra.emulator.web import ident, listed


class Item(Protocol):
    """An entry of the catalogue."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...


FILTERS: dict[str, Callable[[Any], object]] = {
    "name": lambda item: item.name,
    "architecture": lambda item: "x86",
    "type": lambda item: "system",
    "status": lambda item: "available",
}


def _family(plural: str, singular: str, table: Mapping[int, Item], render: Callable[[Any], dict[str, Any]]) -> Any:
    async def index(request: web.Request) -> web.Response:
        return listed(request, plural, list(table.values()), render, FILTERS)

    async def show(request: web.Request) -> web.Response:
        wanted = ident(request)
        for item in table.values():
            if wanted in (str(item.id), item.name):
                return web.json_response({singular: render(item)})
        raise not_found(singular, wanted)

    return [web.get(f"/v1/{plural}", index), web.get(f"/v1/{plural}/{{id}}", show)]


class _Datacenter:
    """A location's datacenter, listed under its own id and name."""

    def __init__(self, place: catalog.Location) -> None:
        self.id, self.name = place.datacenter
        self.place = place


async def pricing(request: web.Request) -> web.Response:
    return web.json_response({"pricing": catalog.pricing()})


def routes() -> list[web.RouteDef]:
    centers = {center.id: center for center in map(_Datacenter, catalog.LOCATIONS.values())}
    return [
        *_family("locations", "location", catalog.LOCATIONS, catalog.Location.json),
        *_family("datacenters", "datacenter", centers, lambda c: catalog.datacenter_json(c.place)),
        *_family("server_types", "server_type", catalog.SERVER_TYPES, catalog.ServerType.json),
        *_family("images", "image", catalog.IMAGES, catalog.Image.json),
        web.get("/v1/pricing", pricing),
    ]
