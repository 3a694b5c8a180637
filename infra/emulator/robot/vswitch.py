"""/vswitch: VLANs between dedicated servers, coupled to a cloud network where one has a subnet for them."""

from ipaddress import IPv4Network
from typing import Any

from infra.emulator.robot.account import Account
from infra.emulator.robot.errors import RobotRefusal, invalid_input, not_found
from infra.emulator.robot.form import Call
from infra.emulator.robot.model import CloudNetworkRef, Member, VSwitch
from infra.emulator.robot.servers import day, ident

VLANS = range(4000, 4092)
SERVERS_MOST = 100
VSWITCHES_OF_A_SERVER = 5
VSWITCHES_MOST = 100
MEMBER_SECONDS = 30.0


def ready(account: Account, member: Member) -> bool:
    return member.ready_at is not None and account.clock() >= member.ready_at


def coupled(account: Account, vswitch: VSwitch) -> list[CloudNetworkRef]:
    """The cloud networks that have a subnet for this vSwitch."""
    return [
        CloudNetworkRef(
            id=network.id,
            ip=str(IPv4Network(subnet.ip_range).network_address),
            mask=IPv4Network(subnet.ip_range).prefixlen,
            gateway=str(IPv4Network(subnet.ip_range)[1]),
        )
        for network in account.store.db.networks.values()
        for subnet in network.subnets
        if subnet.vswitch_id == vswitch.id
    ]


def summary(vswitch: VSwitch) -> dict[str, Any]:
    # Bare, where everything else is wrapped in the name of its type.
    return {
        "id": vswitch.id,
        "name": vswitch.name,
        "vlan": vswitch.vlan,
        "cancelled": vswitch.cancelled_at is not None,
    }


def detail(account: Account, vswitch: VSwitch) -> dict[str, Any]:
    return {
        **summary(vswitch),
        "server": [
            {
                **ident(account.db.servers[member.server_number]),
                # Documented as `in process`.
                "status": "ready" if ready(account, member) else "processing",
            }
            for member in vswitch.members
        ],
        "subnet": [],
        "cloud_network": [network.model_dump() for network in coupled(account, vswitch)],
    }


def expired(account: Account, vswitch: VSwitch) -> bool:
    return vswitch.cancelled_at is not None and vswitch.cancelled_at <= account.today()


def _find(account: Account, call: Call) -> VSwitch:
    ident_ = call.at["id"]
    vswitch = account.db.vswitches.get(int(ident_)) if ident_.isdecimal() else None
    if vswitch is None:
        raise not_found("vswitch not found")
    return vswitch


def _idle(account: Account, call: Call) -> VSwitch:
    vswitch = _find(account, call)
    if not all(ready(account, m) for m in vswitch.members):
        raise RobotRefusal(409, "VSWITCH_IN_PROCESS", "there is an update running, the vswitch cannot be changed")
    return vswitch


def _vlan(call: Call) -> int:
    text = call.need("vlan")
    if not text.isdecimal() or int(text) not in VLANS:
        raise invalid_input(invalid=("vlan",))
    return int(text)


async def index(account: Account, _call: Call) -> Any:
    if not account.db.vswitches and account.db.settings.empty_vswitch_404:
        raise not_found("no vswitches found")
    return [summary(v) for v in account.db.vswitches.values()]


async def show(account: Account, call: Call) -> Any:
    return detail(account, _find(account, call))


async def create(account: Account, call: Call) -> Any:
    name, vlan = call.need("name"), _vlan(call)
    if len([v for v in account.db.vswitches.values() if not v.cancelled_at]) >= VSWITCHES_MOST:
        raise RobotRefusal(409, "VSWITCH_LIMIT_REACHED", "the maximum count of vswitches is reached")
    vswitch = VSwitch(id=account.store.new_id(), name=name, vlan=vlan)
    account.db.vswitches[vswitch.id] = vswitch
    return detail(account, vswitch)


async def update(account: Account, call: Call) -> Any:
    vswitch = _idle(account, call)
    name, vlan = call.need("name"), _vlan(call)
    for member in vswitch.members:
        _require_free_vlan(account, member.server_number, vlan, vswitch)
    vswitch.name, vswitch.vlan = name, vlan
    return None


async def cancel(account: Account, call: Call) -> Any:
    vswitch = _find(account, call)
    when = day(account, call.need("cancellation_date"), "cancellation_date")
    if vswitch.cancelled_at:
        raise RobotRefusal(409, "CONFLICT", "the vswitch is already cancelled")
    vswitch.cancelled_at = when
    if expired(account, vswitch):
        vswitch.members = []
    return None


def _require_free_vlan(account: Account, number: int, vlan: int, vswitch: VSwitch) -> None:
    for other in account.db.vswitches.values():
        if other is not vswitch and other.vlan == vlan and any(m.server_number == number for m in other.members):
            raise RobotRefusal(409, "VSWITCH_VLAN_NOT_UNIQUE", f"server {number} has vlan {vlan} on another vswitch")


async def join(account: Account, call: Call) -> Any:
    vswitch = _idle(account, call)
    servers = [account.server(key) for key in call.many("server")]
    if not servers:
        raise invalid_input(missing=("server",))
    new = {s.number: s for s in servers if not any(m.server_number == s.number for m in vswitch.members)}
    if len(vswitch.members) + len(new) > SERVERS_MOST:
        raise RobotRefusal(409, "VSWITCH_SERVER_LIMIT_REACHED", f"a vswitch takes {SERVERS_MOST} servers")
    for number in new:
        _require_free_vlan(account, number, vswitch.vlan, vswitch)
        on = [v for v in account.db.vswitches.values() if any(m.server_number == number for m in v.members)]
        if len(on) >= VSWITCHES_OF_A_SERVER:
            raise RobotRefusal(409, "VSWITCH_PER_SERVER_LIMIT_REACHED", f"server {number} is on {len(on)} vswitches")
    for number in new:
        stuck = account.faults.strikes("vswitch-stuck", number)
        vswitch.members.append(Member(server_number=number, ready_at=None if stuck else account.later(MEMBER_SECONDS)))
    # Documented as 200; clients in use take nothing but 201.
    return 201, None


async def leave(account: Account, call: Call) -> Any:
    vswitch = _idle(account, call)
    servers = {account.server(key).number for key in call.many("server")}
    if not servers:
        raise invalid_input(missing=("server",))
    if absent := servers - {m.server_number for m in vswitch.members}:
        raise not_found(f"server {min(absent)} is not on this vswitch", "SERVER_NOT_FOUND")
    vswitch.members = [m for m in vswitch.members if m.server_number not in servers]
    return None
