"""What the Robot side remembers: servers with their boot, firewall and machine, keys, vSwitches, orders, budgets."""

from typing import Any, Literal

from pydantic import BaseModel

ResetType = Literal["sw", "hw", "power", "power_long", "man"]
RESET_TYPES: tuple[ResetType, ...] = ("sw", "hw", "power", "power_long", "man")


class Disk(BaseModel):
    """A disk as the rescue system shows it."""

    name: str
    by_id: str
    wwn: str
    bytes: int
    rotational: bool = False
    smart_ok: bool = True


class Hardware(BaseModel):
    disks: list[Disk]
    cpus: int = 8
    memory_bytes: int = 64 * 2**30
    nic: str = "enp5s0"
    nic_driver: str = "igb"
    mac: str = "02:00:00:00:00:00"
    uefi: bool = True


class System(BaseModel):
    """An operating system on the disks; `install_id` where the post-install of ours has written one."""

    hostname: str
    release: str
    install_id: str | None = None
    host_keys: list[str] = []
    authorized_keys: list[str] = []


class Installation(BaseModel):
    """An installimage run in the rescue system, by the id of what it installs."""

    install_id: str
    autosetup: str
    system: System
    done_at: float
    failed: str | None = None


class MachineState(BaseModel):
    powered: bool = True
    # What runs since the last boot; None where nothing came up.
    running: Literal["rescue", "disk"] | None = None
    ready_at: float = 0.0
    boot_id: str = ""
    boots: int = 0
    installed: System | None = None
    rescue_keys: list[str] = []
    rescue_host_keys: list[str] = []
    installation: Installation | None = None
    vlan_address: str | None = None


class BootOrder(BaseModel):
    """An activated boot configuration: what the machine boots next."""

    kind: Literal["rescue", "linux", "vnc"]
    os: str
    lang: str | None = None
    password: str | None = None
    # Fingerprints.
    keys: list[str] = []
    host_keys: list[str] = []
    boot_time: str | None = None


class RobotRule(BaseModel):
    name: str | None = None
    ip_version: Literal["ipv4", "ipv6"] | None = None
    dst_ip: str | None = None
    src_ip: str | None = None
    dst_port: str | None = None
    src_port: str | None = None
    protocol: str | None = None
    tcp_flags: str | None = None
    action: Literal["accept", "discard"]


class RobotFirewall(BaseModel):
    status: Literal["active", "disabled"] = "disabled"
    filter_ipv6: bool = False
    whitelist_hos: bool = True
    port: Literal["main", "kvm"] = "main"
    input: list[RobotRule] = []
    output: list[RobotRule] = []
    # In process until then; None where a fault keeps it so for good.
    settled_at: float | None = 0.0


class FirewallTemplate(BaseModel):
    id: int
    name: str
    is_default: bool = False
    filter_ipv6: bool = False
    whitelist_hos: bool = True
    input: list[RobotRule] = []
    output: list[RobotRule] = []


class Address(BaseModel):
    ip: str
    server_number: int
    gateway: str
    mask: int
    broadcast: str
    main: bool = True
    separate_mac: str | None = None
    traffic_warnings: bool = False
    traffic_hourly: int = 50
    traffic_daily: int = 50
    traffic_monthly: int = 8


class Cancellation(BaseModel):
    date: str
    reason: str | None = None
    reserved: bool = False


class DedicatedServer(BaseModel):
    number: int
    name: str = ""
    ip: str
    ipv6_net: str
    product: str = "AX41-NVMe"
    dc: str = "FSN1-DC14"
    traffic: str = "unlimited"
    status: Literal["ready", "in process"] = "ready"
    paid_until: str = "2030-01-01"
    reset_types: list[ResetType] = ["sw", "hw", "power", "power_long", "man"]
    rescue_available: bool = True
    wol_available: bool = True
    cancellation: Cancellation | None = None
    hardware: Hardware
    boot: BootOrder | None = None
    last: dict[str, BootOrder] = {}
    firewall: RobotFirewall = RobotFirewall()
    manual_reset_at: float | None = None
    machine: MachineState = MachineState()


class RobotKey(BaseModel):
    name: str
    fingerprint: str
    type: str
    size: int
    data: str
    created_at: str


class Member(BaseModel):
    server_number: int
    # None where a fault keeps it in process.
    ready_at: float | None


class CloudNetworkRef(BaseModel):
    id: int
    ip: str
    mask: int
    gateway: str


class VSwitch(BaseModel):
    id: int
    name: str
    vlan: int
    cancelled_at: str | None = None
    members: list[Member] = []


class Transaction(BaseModel):
    id: str
    date: str
    ready_at: float
    server_number: int | None = None
    product: dict[str, Any]
    keys: list[str] = []
    addons: list[str] = []
    comment: str | None = None
    manual: bool = False


class Settings(BaseModel):
    """How the emulated webservice behaves; changed through the control routes."""

    # Of the times that Hetzner takes (firewall 25 s, vSwitch 30 s, boot 60 s, order 120 s).
    delay_scale: float = 0.05
    # Of the requests an hour that Hetzner allows; 0 lifts every limit.
    limit_scale: float = 1.0
    # Whether a booted rescue system's host keys are given in `rescue/last`; Hetzner's replies leave them empty.
    rescue_host_keys: bool = False
    # Whether an empty list of vSwitches is a 404, as it has been seen at times.
    empty_vswitch_404: bool = False


class RobotAccount(BaseModel):
    settings: Settings = Settings()
    next_number: int = 321
    servers: dict[int, DedicatedServer] = {}
    addresses: dict[str, Address] = {}
    rdns: dict[str, str] = {}
    keys: dict[str, RobotKey] = {}
    vswitches: dict[int, VSwitch] = {}
    templates: dict[int, FirewallTemplate] = {}
    transactions: dict[str, Transaction] = {}
    # Times of the requests, by endpoint, as far back as its window reaches.
    calls: dict[str, list[float]] = {}
    # Times of failed logins, by source address.
    failed_logins: dict[str, list[float]] = {}
