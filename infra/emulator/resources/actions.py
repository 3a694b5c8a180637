"""The account's actions, as clients poll them."""

from aiohttp import web

from infra.emulator.resources.common import ACTION_FILTERS, pick
from infra.emulator.web import action_json, cloud_of, listed


async def index(request: web.Request) -> web.Response:
    return listed(request, "actions", list(cloud_of(request).db.actions.values()), action_json, ACTION_FILTERS)


async def show(request: web.Request) -> web.Response:
    return web.json_response({"action": action_json(pick(request, cloud_of(request).db.actions, "action"))})


def routes() -> list[web.RouteDef]:
    return [web.get("/v1/actions", index), web.get("/v1/actions/{id}", show)]
