"""What the emulator remembers: one record a resource, in the shape it is kept on disk."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from infra.emulator.faults import FaultRule
from infra.emulator.robot.model import RobotAccount


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class Record(BaseModel):
    id: int


class Named(Record):
    name: str
    labels: dict[str, str] = {}
    created: str = Field(default_factory=now)


class Deletable(BaseModel):
    delete: bool = False


class SshKey(Named):
    fingerprint: str
    public_key: str


class Subnet(BaseModel):
    type: Literal["cloud", "server", "vswitch"]
    ip_range: str
    network_zone: str
    gateway: str
    vswitch_id: int | None = None


class Route(BaseModel):
    destination: str
    gateway: str


class Network(Named):
    ip_range: str
    subnets: list[Subnet] = []
    routes: list[Route] = []
    protection: Deletable = Deletable()
    expose_routes_to_vswitch: bool = False


class FirewallRule(BaseModel):
    direction: Literal["in", "out"]
    protocol: Literal["tcp", "udp", "icmp", "esp", "gre"]
    source_ips: list[str] = []
    destination_ips: list[str] = []
    port: str | None = None
    description: str | None = None


class Firewall(Named):
    rules: list[FirewallRule] = []
    servers: list[int] = []
    selectors: list[str] = []


class PlacementGroup(Named):
    type: Literal["spread"]


class PrimaryIp(Named):
    type: Literal["ipv4", "ipv6"]
    ip: str
    location: str
    assignee_id: int | None = None
    auto_delete: bool = True
    blocked: bool = False
    dns_ptr: list[dict[str, str]] = []
    protection: Deletable = Deletable()


class PrivateNet(BaseModel):
    network: int
    ip: str
    alias_ips: list[str] = []
    mac_address: str


class ServerProtection(BaseModel):
    delete: bool = False
    rebuild: bool = False


class Server(Named):
    server_type: str
    image: int
    location: str
    user_data: str | None = None
    authorized_keys: list[str] = []
    ipv4: int | None = None
    ipv6: int | None = None
    private_net: list[PrivateNet] = []
    placement_group: int | None = None
    protection: ServerProtection = ServerProtection()
    # What was last asked of it. A machine found dead while it should be on has died: this then turns off.
    power: Literal["on", "off"] = "off"
    # Where a running action has it (starting, stopping, ...); None when it is where `power` says.
    transition: str | None = None


class Volume(Named):
    size: int
    location: str
    server: int | None = None
    format: str | None = None
    protection: Deletable = Deletable()


class ResourceRef(BaseModel):
    id: int
    type: str


class Action(Record):
    command: str
    status: Literal["running", "success", "error"] = "running"
    progress: int = 0
    started: str = Field(default_factory=now)
    finished: str | None = None
    resources: list[ResourceRef] = []
    error: dict[str, Any] | None = None


class Forward(BaseModel, frozen=True):
    """A loopback listener of the root namespace that leads to an address inside."""

    listen: str
    to: str


class Database(BaseModel):
    version: Literal[1] = 1
    next_id: int = 1000
    ssh_keys: dict[int, SshKey] = {}
    networks: dict[int, Network] = {}
    firewalls: dict[int, Firewall] = {}
    placement_groups: dict[int, PlacementGroup] = {}
    primary_ips: dict[int, PrimaryIp] = {}
    servers: dict[int, Server] = {}
    volumes: dict[int, Volume] = {}
    actions: dict[int, Action] = {}
    forwards: list[Forward] = []
    faults: list[FaultRule] = []
    robot: RobotAccount = RobotAccount()
