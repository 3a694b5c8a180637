"""/ip and /rdns: addresses of the servers, their separate MAC addresses, and reverse DNS."""

import re
from ipaddress import ip_address, ip_network
from typing import Any

from infra.emulator.robot.account import Account
from infra.emulator.robot.errors import RobotRefusal, invalid_input, not_found
from infra.emulator.robot.form import Call
from infra.emulator.robot.model import Address

TRAFFIC_FIELDS = ("traffic_hourly", "traffic_daily", "traffic_monthly")
_PTR = re.compile(r"(?=.{1,253}\.?$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9-]{1,63}\.?")


def _render(account: Account, address: Address) -> dict[str, Any]:
    return {
        "ip": {
            **address.model_dump(exclude={"main"}),
            "server_ip": account.db.servers[address.server_number].ip,
            "locked": False,
        }
    }


def _find(account: Account, call: Call) -> Address:
    address = account.db.addresses.get(call.at["ip"])
    if address is None:
        raise not_found("ip not found", "IP_NOT_FOUND")
    return address


async def index(account: Account, call: Call) -> Any:
    wanted = call.query.get("server_ip")
    server = account.server(wanted) if wanted else None
    found = [a for a in account.db.addresses.values() if server is None or a.server_number == server.number]
    if not found:
        raise not_found("no ip addresses found")
    return [_render(account, a) for a in found]


async def show(account: Account, call: Call) -> Any:
    return _render(account, _find(account, call))


async def warn(account: Account, call: Call) -> Any:
    address = _find(account, call)
    warnings = call.flag("traffic_warnings")
    address.traffic_warnings = address.traffic_warnings if warnings is None else warnings
    for field in TRAFFIC_FIELDS:
        if text := call.get(field):
            if not text.isdecimal():
                raise invalid_input(invalid=(field,))
            setattr(address, field, int(text))
    return _render(account, address)


def _mac(address: Address) -> dict[str, Any]:
    return {"mac": {"ip": address.ip, "mac": address.separate_mac}}


async def show_mac(account: Account, call: Call) -> Any:
    address = _find(account, call)
    if address.separate_mac is None:
        raise not_found("no separate mac for this ip", "MAC_NOT_FOUND")
    return _mac(address)


async def set_mac(account: Account, call: Call) -> Any:
    address = _find(account, call)
    if address.main:
        raise not_found("a main ip takes no separate mac", "MAC_NOT_AVAILABLE")
    if address.separate_mac:
        raise RobotRefusal(409, "MAC_ALREADY_SET", "a separate mac is already set")
    number = int(ip_address(address.ip))
    address.separate_mac = f"00:50:56:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    return _mac(address)


async def clear_mac(account: Account, call: Call) -> Any:
    address = _find(account, call)
    if address.separate_mac is None:
        raise not_found("no separate mac for this ip", "MAC_NOT_AVAILABLE")
    address.separate_mac = None
    return _mac(address)


def _owned(account: Account, text: str) -> str:
    """The address in its usual form, where it belongs to one of the servers."""
    try:
        address = ip_address(text)
    except ValueError:
        raise not_found("ip not found", "IP_NOT_FOUND") from None
    if str(address) in account.db.addresses:
        return str(address)
    if address.version == 6 and any(address in ip_network(f"{s.ipv6_net}/64") for s in account.db.servers.values()):
        return str(address)
    raise not_found("ip not found", "IP_NOT_FOUND")


def _ptr(call: Call) -> str:
    name = call.need("ptr")
    if not _PTR.fullmatch(name):
        raise invalid_input(invalid=("ptr",))
    return name


async def rdns_index(account: Account, call: Call) -> Any:
    wanted = call.query.get("server_ip")
    number = account.server(wanted).number if wanted else None
    found = [
        {"rdns": {"ip": ip, "ptr": ptr}}
        for ip, ptr in account.db.rdns.items()
        if number is None or _server_of(account, ip) == number
    ]
    if not found:
        raise not_found("no entries found", "NOT_FOUND")
    return found


def _server_of(account: Account, ip: str) -> int | None:
    if ip in account.db.addresses:
        return account.db.addresses[ip].server_number
    return next(
        (s.number for s in account.db.servers.values() if ip_address(ip) in ip_network(f"{s.ipv6_net}/64")), None
    )


async def rdns_show(account: Account, call: Call) -> Any:
    ip = _owned(account, call.at["ip"])
    if ip not in account.db.rdns:
        raise not_found("the ip has no reverse DNS entry", "RDNS_NOT_FOUND")
    return {"rdns": {"ip": ip, "ptr": account.db.rdns[ip]}}


async def rdns_create(account: Account, call: Call) -> Any:
    ip = _owned(account, call.at["ip"])
    if ip in account.db.rdns:
        raise RobotRefusal(409, "RDNS_ALREADY_EXISTS", "there is already a reverse DNS entry")
    account.db.rdns[ip] = _ptr(call)
    return 201, {"rdns": {"ip": ip, "ptr": account.db.rdns[ip]}}


async def rdns_write(account: Account, call: Call) -> Any:
    ip = _owned(account, call.at["ip"])
    status = 200 if ip in account.db.rdns else 201
    account.db.rdns[ip] = _ptr(call)
    return status, {"rdns": {"ip": ip, "ptr": account.db.rdns[ip]}}


async def rdns_delete(account: Account, call: Call) -> Any:
    ip = _owned(account, call.at["ip"])
    if account.db.rdns.pop(ip, None) is None:
        raise not_found("the ip has no reverse DNS entry", "RDNS_NOT_FOUND")
    return None


async def subnets(account: Account, _call: Call) -> Any:
    """IPv6 nets of the servers: a number for a mask here."""
    if not account.db.servers:
        raise not_found("no subnets found")
    return [
        {"subnet": {"ip": s.ipv6_net, "mask": 64, "gateway": "fe80::1", "server_number": s.number, "server_ip": s.ip}}
        for s in account.db.servers.values()
    ]
