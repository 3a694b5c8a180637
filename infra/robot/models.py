"""The webservice's answers as types. They take what Robot really sends, where that is not what it documents."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr


class Reply(BaseModel):
    """Fields that Robot adds are no fault."""

    model_config = ConfigDict(extra="ignore", frozen=True, coerce_numbers_to_str=True)


def _listed(value: object) -> object:
    """A list; null and {} are empty ones, a mapping by index is one in that order."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [value[k] for k in sorted(value, key=lambda k: int(k) if str(k).isdecimal() else 0)]
    return value


def _chosen(value: object) -> object:
    """A boot option: what was chosen where active (a scalar), what may be where not (a list)."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _unwrap(value: object) -> object:
    """`{"key": {...}}` as what is in it."""
    return value["key"] if isinstance(value, dict) and set(value) == {"key"} else value


def _host_key(value: object) -> object:
    """A host key as its fingerprint: Robot has been seen to give text, and objects as of orders."""
    inner = _unwrap(value)
    return inner.get("fingerprint") if isinstance(inner, dict) else inner


def _host_keys(value: object) -> object:
    listed = _listed(value)
    return [key for item in listed if (key := _host_key(item))] if isinstance(listed, list) else listed


def _status(value: object) -> object:
    # Robot documents "in process" and sends "processing".
    return "in process" if value == "processing" else value


type Many[T] = Annotated[tuple[T, ...], BeforeValidator(_listed)]
type Choice = Annotated[tuple[str, ...], BeforeValidator(_chosen)]
type HostKeys = Annotated[tuple[str, ...], BeforeValidator(_host_keys)]
ResetType = Literal["sw", "hw", "power", "power_long", "man"]


class Subnet(Reply):
    ip: str
    # Text under a server, a number elsewhere.
    mask: int


class Server(Reply):
    server_number: int
    server_ip: str | None = None
    server_ipv6_net: str | None = None
    server_name: str = ""
    product: str = ""
    dc: str = ""
    status: Annotated[Literal["ready", "in process"], BeforeValidator(_status)] = "ready"
    cancelled: bool = False
    paid_until: str | None = None
    ip: Many[str] = ()
    subnet: Many[Subnet] = ()
    # Of the detail alone; None in a list.
    reset: bool | None = None
    rescue: bool | None = None
    wol: bool | None = None


class Cancellation(Reply):
    server_number: int
    earliest_cancellation_date: str | None = None
    cancelled: bool
    reservation_possible: bool = False
    reserved: bool = False
    # The documentation's example has a hyphen.
    cancellation_date: str | None = Field(default=None)
    cancellation_reason: Choice = ()


class Ip(Reply):
    ip: str
    server_number: int
    gateway: str | None = None
    mask: int | None = None
    broadcast: str | None = None
    locked: bool = False
    separate_mac: str | None = None


class Mac(Reply):
    ip: str
    mac: str | None = None


class ResetOptions(Reply):
    server_number: int
    type: Many[str] = ()
    operating_status: str | None = None


class KeyRef(Reply):
    name: str = ""
    fingerprint: str
    type: str = ""
    size: int = 0


class Key(KeyRef):
    data: str = ""
    created_at: str | None = None


class Boot(Reply):
    """One boot configuration. `os` (or `dist`) is what is booted where active, what could be where not."""

    active: bool = False
    os: Choice = ()
    dist: Choice = ()
    arch: Choice = ()
    lang: Choice = ()
    password: SecretStr | None = None
    authorized_key: Annotated[tuple[KeyRef, ...], BeforeValidator(lambda v: [_unwrap(k) for k in _rows(v)])] = ()
    # Empty means that Robot does not say, never that there are none.
    host_key: HostKeys = ()
    # Only on an active one, and null until it has been booted.
    boot_time: str | None = None


def _rows(value: object) -> list[Any]:
    listed = _listed(value)
    return listed if isinstance(listed, list) else []


class BootConfig(Reply):
    rescue: Boot | None = None
    linux: Boot | None = None
    vnc: Boot | None = None
    windows: Boot | None = None
    plesk: Boot | None = None
    cpanel: Boot | None = None

    @property
    def active(self) -> str | None:
        """Which one is active; Robot keeps at most one."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return next((name for name, boot in named.items() if boot and boot.active), None)


class Rdns(Reply):
    ip: str
    # Listings have been seen with null.
    ptr: str | None = None


class Rule(Reply):
    """One rule of a server's firewall. `ip_version` None is both, which then filters neither protocol nor address."""

    name: str | None = None
    ip_version: Literal["ipv4", "ipv6"] | None = None
    dst_ip: str | None = None
    src_ip: str | None = None
    dst_port: str | None = None
    src_port: str | None = None
    protocol: str | None = None
    tcp_flags: str | None = None
    action: Literal["accept", "discard"]


def _direction(rules: object, name: str) -> list[Any]:
    """The rules of a direction from a list, from a mapping by index, or from wherever the other one holds them."""
    if not isinstance(rules, dict):
        return []
    found = rules.get(name)
    if found is None:
        # As in the documentation's example, where `output` lies inside `input`.
        other = rules.get("input")
        found = other.get(name) if isinstance(other, dict) else None
    if isinstance(found, dict):
        found = {k: v for k, v in found.items() if str(k).isdecimal()}
    return _rows(found)


class Firewall(Reply):
    server_number: int
    server_ip: str | None = None
    status: Annotated[Literal["active", "disabled", "in process"], BeforeValidator(_status)]
    filter_ipv6: bool = False
    whitelist_hos: bool = False
    port: str = "main"
    input: tuple[Rule, ...] = ()
    output: tuple[Rule, ...] = ()


class FirewallTemplate(Reply):
    id: int
    name: str
    is_default: bool = False
    filter_ipv6: bool = False
    whitelist_hos: bool = False
    input: tuple[Rule, ...] = ()
    output: tuple[Rule, ...] = ()


def with_rules(body: dict[str, Any]) -> dict[str, Any]:
    """A firewall's body with its directions as lists, whichever of its shapes Robot sent."""
    return body | {name: _direction(body.get("rules"), name) for name in ("input", "output")}


class Member(Reply):
    server_number: int
    server_ip: str | None = None
    status: Annotated[Literal["ready", "in process", "failed"], BeforeValidator(_status)]


class CloudNetwork(Reply):
    id: int
    ip: str
    mask: int
    gateway: str


class VSwitchSummary(Reply):
    id: int
    name: str
    vlan: int
    cancelled: bool = False


class VSwitch(VSwitchSummary):
    server: Many[Member] = ()
    subnet: Many[Subnet] = ()
    cloud_network: Many[CloudNetwork] = ()

    @property
    def ready(self) -> bool:
        return all(member.status == "ready" for member in self.server)


class Transaction(Reply):
    id: str
    status: Annotated[Literal["ready", "in process", "cancelled"], BeforeValidator(_status)]
    # None until it is ready.
    server_number: int | None = None
    server_ip: str | None = None
    host_key: HostKeys = ()
    comment: str | None = None


class Product(Reply):
    id: str
    name: str
    description: Many[str] = ()
    location: Choice = ()
    dist: Choice = ()
    prices: Many[dict[str, Any]] = ()


def unwrapped(rows: object, key: str) -> Iterable[Any]:
    """The things in a list of `{"<key>": thing}`; a bare list is taken as it is."""
    for row in _rows(rows):
        yield row[key] if isinstance(row, dict) and set(row) == {key} else row
