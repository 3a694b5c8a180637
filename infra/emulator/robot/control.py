"""Control routes of the Robot side: rack and retire servers, see them, and set how the webservice behaves."""

from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from infra.emulator.errors import ApiError, not_found
from infra.emulator.robot import login as logins
from infra.emulator.robot.account import Account
from infra.emulator.robot.errors import RobotRefusal
from infra.emulator.robot.model import DedicatedServer, Hardware, Settings, System
from infra.emulator.robot.orders import hardware
from infra.emulator.web import read

ACCOUNT = web.AppKey("robot account", Account)


class Rack(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int | None = None
    name: str = ""
    product: str = "AX41-NVMe"
    dc: str = "FSN1-DC14"
    hardware: Hardware | None = None
    # A system that is on the disks already and runs.
    installed: System | None = None


class Change(BaseModel):
    model_config = ConfigDict(extra="forbid")

    delay_scale: float | None = None
    limit_scale: float | None = None
    rescue_host_keys: bool | None = None
    empty_vswitch_404: bool | None = None


def account_of(request: web.Request) -> Account:
    return request.app[ACCOUNT]


def find(request: web.Request) -> DedicatedServer:
    try:
        return account_of(request).server(request.match_info["n"])
    except RobotRefusal:
        raise not_found("dedicated server", request.match_info["n"]) from None


def render(account: Account, server: DedicatedServer) -> dict[str, Any]:
    machine = account.machine(server)
    face = machine.ssh()
    return {
        "number": server.number,
        "name": server.name,
        "ip": server.ip,
        "product": server.product,
        "dc": server.dc,
        "machine": machine.kind,
        "powered": machine.powered(),
        "boots": server.machine.boots,
        "system": face.system if face else None,
        "hostname": face.hostname if face else None,
        "boot_id": face.boot_id if face else None,
        "next_boot": server.boot.kind if server.boot else "disk",
        "install_id": server.machine.installed.install_id if server.machine.installed else None,
        "hardware": server.hardware.model_dump(),
    }


async def index(request: web.Request) -> web.Response:
    account = account_of(request)
    return web.json_response({"dedicated": [render(account, s) for s in account.db.servers.values()]})


async def rack(request: web.Request) -> web.Response:
    body, account = await read(request, Rack), account_of(request)
    if body.number in account.db.servers:
        raise ApiError("uniqueness_error", f"server {body.number} is in the account already")
    server = account.rack(**{field: getattr(body, field) for field in Rack.model_fields})
    if body.hardware is None:
        server.hardware = hardware(body.product, server.number)
    await account.machine(server).resume()
    account.store.save()
    return web.json_response({"dedicated": render(account, server)}, status=201)


async def show(request: web.Request) -> web.Response:
    return web.json_response({"dedicated": render(account_of(request), find(request))})


async def retire(request: web.Request) -> web.Response:
    await account_of(request).retire(find(request))
    return web.Response(status=204)


class Login(BaseModel):
    model_config = ConfigDict(extra="allow")

    op: str
    key: str


async def login(request: web.Request) -> web.Response:
    body = await read(request, Login)
    return web.json_response(logins.answer(account_of(request), find(request), body.model_dump()))


async def settings(request: web.Request) -> web.Response:
    return web.json_response({"settings": account_of(request).db.settings.model_dump()})


async def change(request: web.Request) -> web.Response:
    db = account_of(request).db
    given = (await read(request, Change)).model_dump(exclude_none=True)
    db.settings = Settings.model_validate({**db.settings.model_dump(), **given})
    return await settings(request)


def routes() -> list[web.RouteDef]:
    return [
        web.get("/_emulator/dedicated", index),
        web.post("/_emulator/dedicated", rack),
        web.get("/_emulator/dedicated/{n:\\d+}", show),
        web.delete("/_emulator/dedicated/{n:\\d+}", retire),
        web.post("/_emulator/dedicated/{n}/login", login),
        web.get("/_emulator/robot/settings", settings),
        web.patch("/_emulator/robot/settings", change),
    ]
