"""/server, /reset, /wol: the servers, their cancellation, and how they are restarted."""

from datetime import date, timedelta
from typing import Any

from infra.emulator.robot.account import Account
from infra.emulator.robot.errors import RobotRefusal, invalid_input, not_found
from infra.emulator.robot.form import Call
from infra.emulator.robot.model import RESET_TYPES, Cancellation, DedicatedServer

# How long a technician takes: until then a second manual reset is refused.
MANUAL_SECONDS = 1200.0


def ident(server: DedicatedServer) -> dict[str, Any]:
    return {"server_ip": server.ip, "server_ipv6_net": server.ipv6_net, "server_number": server.number}


def summary(account: Account, server: DedicatedServer) -> dict[str, Any]:
    ips = [a.ip for a in account.db.addresses.values() if a.server_number == server.number]
    return {
        **ident(server),
        "server_name": server.name,
        "product": server.product,
        "dc": server.dc,
        "traffic": server.traffic,
        "status": server.status,
        "cancelled": server.cancellation is not None,
        "paid_until": server.paid_until,
        "ip": ips,
        # Text here; a number everywhere else.
        "subnet": [{"ip": server.ipv6_net, "mask": "64"}],
    }


def detail(account: Account, server: DedicatedServer) -> dict[str, Any]:
    return {
        **summary(account, server),
        "reset": bool(server.reset_types),
        "rescue": server.rescue_available,
        "vnc": True,
        "windows": False,
        "plesk": False,
        "cpanel": False,
        "wol": server.wol_available,
        "hot_swap": False,
        "linked_storagebox": None,
    }


async def index(account: Account, _call: Call) -> Any:
    if not account.db.servers:
        raise not_found("no servers found", "SERVER_NOT_FOUND")
    return [{"server": summary(account, s)} for s in account.db.servers.values()]


async def show(account: Account, call: Call) -> Any:
    return {"server": detail(account, account.server(call.at["n"]))}


async def rename(account: Account, call: Call) -> Any:
    server = account.server(call.at["n"])
    server.name = call.need("server_name")
    return {"server": detail(account, server)}


def _cancellation(account: Account, server: DedicatedServer) -> dict[str, Any]:
    done = server.cancellation
    return {
        "cancellation": {
            **ident(server),
            "server_name": server.name,
            "earliest_cancellation_date": account.today(),
            "cancelled": done is not None,
            "reservation_possible": True,
            "reserved": bool(done and done.reserved),
            "cancellation_date": done.date if done else None,
            "cancellation_reason": done.reason if done else ["Upgrade to a new server", "Dissatisfied", "Other"],
        }
    }


async def show_cancellation(account: Account, call: Call) -> Any:
    return _cancellation(account, account.server(call.at["n"]))


async def cancel(account: Account, call: Call) -> Any:
    server = account.server(call.at["n"])
    if server.cancellation:
        raise RobotRefusal(409, "CONFLICT", "the server is already cancelled")
    when, reserve = call.need("cancellation_date"), call.flag("reserve_location")
    if reserve is None:
        raise invalid_input(missing=("reserve_location",))
    server.cancellation = Cancellation(
        date=day(account, when, "cancellation_date"), reason=call.get("cancellation_reason"), reserved=reserve
    )
    return _cancellation(account, server)


async def withdraw(account: Account, call: Call) -> Any:
    server = account.server(call.at["n"])
    if server.cancellation is None:
        raise RobotRefusal(409, "CONFLICT", "the server is not cancelled")
    server.cancellation = None
    return None


def day(account: Account, text: str, field: str) -> str:
    """`now`, or a day that is not over; its year may be written with two digits."""
    if text == "now":
        return account.today()
    try:
        when = date.fromisoformat(text if len(text.partition("-")[0]) == 4 else "20" + text)
    except ValueError:
        raise invalid_input(invalid=(field,)) from None
    # Clients name today in a time zone of their own.
    if when < date.fromisoformat(account.today()) - timedelta(days=1):
        raise invalid_input(invalid=(field,))
    return when.isoformat()


async def resets(account: Account, _call: Call) -> Any:
    if not account.db.servers:
        raise not_found("no resettable servers", "NOT_FOUND")
    return [{"reset": {**ident(s), "type": s.reset_types}} for s in account.db.servers.values() if s.reset_types]


def _resettable(account: Account, call: Call) -> DedicatedServer:
    server = account.server(call.at["n"])
    if not server.reset_types:
        raise not_found("the server has no reset option", "RESET_NOT_AVAILABLE")
    return server


async def show_reset(account: Account, call: Call) -> Any:
    server = _resettable(account, call)
    status = "running" if account.machine(server).powered() else "shut off"
    return {"reset": {**ident(server), "type": server.reset_types, "operating_status": status}}


async def reset(account: Account, call: Call) -> Any:
    server = _resettable(account, call)
    wanted = call.need("type")
    kind = next((k for k in RESET_TYPES if k == wanted and k in server.reset_types), None)
    if kind is None:
        raise invalid_input(invalid=("type",))
    if kind == "man":
        if server.manual_reset_at and account.clock() < server.manual_reset_at + MANUAL_SECONDS:
            raise RobotRefusal(409, "RESET_MANUAL_ACTIVE", "a manual reset is already active")
        server.manual_reset_at = account.clock()
        kind = "hw"
    await account.machine(server).reset(kind)
    return {"reset": {**ident(server), "type": wanted}}


def _wakeable(account: Account, call: Call) -> DedicatedServer:
    server = account.server(call.at["n"])
    if not server.wol_available:
        raise not_found("the server has no Wake on LAN", "WOL_NOT_AVAILABLE")
    return server


async def show_wol(account: Account, call: Call) -> Any:
    return {"wol": ident(_wakeable(account, call))}


async def wake(account: Account, call: Call) -> Any:
    server = _wakeable(account, call)
    await account.machine(server).power(True)
    return {"wol": ident(server)}
