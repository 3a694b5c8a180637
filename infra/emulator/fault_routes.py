"""Control routes for failure injection: the rules in force, and what each has struck."""

from aiohttp import web
from pydantic import RootModel

from infra.emulator.errors import not_found
from infra.emulator.faults import FaultRule
from infra.emulator.web import cloud_of, read


class Rules(RootModel[list[FaultRule]]):
    pass


def _all(request: web.Request) -> web.Response:
    return web.json_response({"faults": [rule.model_dump() for rule in cloud_of(request).faults.rules]})


async def index(request: web.Request) -> web.Response:
    return _all(request)


async def add(request: web.Request) -> web.Response:
    rule = cloud_of(request).faults.add(await read(request, FaultRule))
    return web.json_response({"fault": rule.model_dump()}, status=201)


async def replace(request: web.Request) -> web.Response:
    cloud_of(request).faults.replace((await read(request, Rules)).root)
    return _all(request)


async def remove(request: web.Request) -> web.Response:
    ident = request.match_info["id"]
    if not cloud_of(request).faults.remove(int(ident)):
        raise not_found("fault", ident)
    return _all(request)


def routes() -> list[web.RouteDef]:
    return [
        web.get("/_emulator/faults", index),
        web.post("/_emulator/faults", add),
        web.put("/_emulator/faults", replace),
        web.delete("/_emulator/faults/{id:\\d+}", remove),
    ]
