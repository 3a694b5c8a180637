"""The typed site: what a stack describes, read at the edge and checked whole before anything is made."""

import re
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from infra import site_file
from infra.problems import InvalidSite, Problem, Refusal, choose, from_pydantic
from infra.robot.storage import Word
from infra.robot.vswitches import VLANS
from infra.site_metal import Dedicated
from infra.tuning.partition import Partition, PartitionError, parse_cpu_list

# Which pools a service may stand in. Data services never share a host with the engine: their page cache, dirty
# ratios and huge page settings work against its latency.
SERVICE_POOLS: dict[str, tuple[str, ...]] = {
    "kafka": ("data",),
    "clickhouse": ("data",),
    "minio": ("data",),
    "redis": ("data",),
    "ingest": ("data",),
    "engine": ("latency",),
    "prometheus": ("ops",),
    "alertmanager": ("ops",),
    "venue": ("ops",),
}
# On every host, whatever its pool; not named in a site's description.
COMMON_SERVICES = ("base", "node_exporter")
POOLS = ("data", "latency", "ops")
LOCATION_ZONES = {
    "fsn1": "eu-central",
    "nbg1": "eu-central",
    "hel1": "eu-central",
    "ash": "us-east",
    "hil": "us-west",
    "sin": "ap-southeast",
}
NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
RESERVED_NAMES = {*SERVICE_POOLS, *COMMON_SERVICES, "all", "ungrouped", "localhost", "mirrored"}


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise Refusal(
            f'"{value}" is not a valid name',
            "Use at most 63 lower-case letters, digits and hyphens, a letter first and no hyphen last",
        )
    return value


def _host_name(value: str) -> str:
    _name(value)
    if value in RESERVED_NAMES or value.startswith("pool-"):
        raise Refusal(f'a host cannot be called "{value}", which is a group of the inventory', f'Write "{value}-1"')
    return value


def _service(value: str) -> str:
    if value in COMMON_SERVICES:
        raise Refusal(f'"{value}" runs on every host and is not listed', "Remove it from the list")
    if value not in SERVICE_POOLS:
        raise Refusal(f'unknown service "{value}"', choose(value, SERVICE_POOLS))
    return value


def _pool(value: str) -> str:
    if value not in POOLS:
        raise Refusal(f'unknown pool "{value}"', choose(value, POOLS))
    return value


def _location(value: str) -> str:
    if value not in LOCATION_ZONES:
        datacenter = value.partition("-dc")[0]
        if datacenter in LOCATION_ZONES:
            raise Refusal(f'"{value}" is a datacenter, not a location', f'Write "{datacenter}"')
        raise Refusal(f'unknown location "{value}"', choose(value, LOCATION_ZONES))
    return value


def _cpu_list(value: object) -> object:
    # YAML reads a single CPU as a number.
    try:
        return parse_cpu_list("" if value is None else str(value))
    except PartitionError as e:
        raise _refusal(e) from e


def _refusal(error: PartitionError) -> Refusal:
    """A partition's error as what is wrong and how to mend it, without the host's name: the place says which."""
    what, _, mend = str(error).removeprefix("host: ").rpartition("; ")
    return Refusal(what, mend[0].upper() + mend[1:]) if what else Refusal(mend, 'Write it like "0-1,4"')


def _network(value: str) -> IPv4Network:
    try:
        return IPv4Network(value, strict=False)
    except ValueError as e:
        raise Refusal(f'"{value}" is not an IPv4 network', 'Write address and prefix, such as "10.77.0.0/16"') from e


def _source(value: str) -> str:
    network = _network(value)
    if network.prefixlen == 0:
        raise Refusal(f'"{value}" opens this port to the whole internet', "Name the networks that you come from")
    return str(network)


def _http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", value):
        raise Refusal(f'"{value}" is not an http(s) address', 'Write it whole, such as "http://10.77.0.1:8480"')
    return value.rstrip("/")


def _public_key(value: str) -> str:
    if not re.fullmatch(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+|sk-\S+) [A-Za-z0-9+/]+=*( .*)?", value.strip()):
        raise Refusal("this is not an OpenSSH public key", "Paste the one line of your .pub file")
    return value.strip()


def _host(value: object) -> object:
    """A host is its address, or a mapping where it has more to say."""
    return {"address": value} if isinstance(value, str) else value or {}


type Name = Annotated[str, AfterValidator(_name)]
type Service = Annotated[str, AfterValidator(_service)]
type CpuList = Annotated[frozenset[int], BeforeValidator(_cpu_list)]
type Network4 = Annotated[IPv4Network, BeforeValidator(lambda v: _network(str(v)))]
type Sources = Annotated[list[Annotated[str, AfterValidator(_source)]], Field(min_length=1)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Emulator(Model):
    """The Hetzner of an emulated site: its APIs listen on these ports of loopback."""

    port: int = Field(default=8901, ge=1024, le=65535)
    # Of the Robot webservice; None is the one after `port`.
    robot_port: Annotated[int, Field(ge=1024, le=65535)] | None = None

    @property
    def robot(self) -> int:
        return self.robot_port or self.port + 1


class VSwitch(Model):
    """The part of the network that dedicated servers are on, coupled to the cloud's part."""

    vlan: int = Field(ge=VLANS[0], le=VLANS[-1])
    subnet: Network4

    @property
    def gateway(self) -> IPv4Address:
        """Hetzner's, towards the cloud's part."""
        return self.subnet[1]


class Network(Model):
    cidr: Network4
    # Of the cloud servers.
    subnet: Network4
    vswitch: VSwitch | None = None
    zone: Literal["eu-central", "us-east", "us-west", "ap-southeast"] = "eu-central"


class Ssh(Model):
    """Who may reach the hosts over SSH. An emulated site generates its own key where none is named."""

    admin_cidrs: Sources
    public_key: Annotated[str, AfterValidator(_public_key)] | None = None
    identity_file: str | None = None


class Opening(Model):
    """One more port that the edge firewall lets through."""

    port: Annotated[str, BeforeValidator(str), Field(pattern=r"^\d{1,5}(-\d{1,5})?$")]
    sources: Sources
    protocol: Literal["tcp", "udp"] = "tcp"
    description: str = ""


class Firewall(Model):
    # Hetzner takes 50 rules; ssh and ping are two of them.
    openings: list[Opening] = Field(default=[], max_length=48)


class Mirror(Model):
    url: Annotated[str, AfterValidator(_http_url)]


class Cpus(Model):
    """Which CPUs of each host of the pool serve the system, and which are kept free for what must not be disturbed."""

    total: int = Field(ge=1, le=1024)
    housekeeping: CpuList
    isolated: CpuList = frozenset()

    @model_validator(mode="after")
    def _whole(self) -> "Cpus":
        try:
            self.partition.validate(self.total)
        except PartitionError as e:
            raise _refusal(e) from e
        return self

    @property
    def partition(self) -> Partition:
        return Partition(self.housekeeping, self.isolated)


class Host(Model):
    address: IPv4Address
    # Where a pool has several hosts, each may name its own share of the pool's services.
    services: list[Service] | None = None
    # Of a dedicated server: its number in Robot and its disks by their stable ids (as under /dev/disk/by-id).
    server: Annotated[int, Field(ge=1)] | None = None
    disks: Annotated[list[Word], Field(min_length=1, max_length=16)] | None = None
    # The server's own number, typed by a person who wants what is on its disks gone.
    allow_reinstall: int | None = None
    # Raised to have the host installed anew, with that consent.
    generation: int = Field(default=0, ge=0)
    reverse_dns: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")] | None = None


class Pool(Model):
    # Cloud servers of this type, or dedicated ones: one of the two.
    server_type: str | None = None
    dedicated: Dedicated | None = None
    image: str = "debian-13"
    services: list[Service] = []
    cpus: Cpus
    hosts: Annotated[
        dict[
            Annotated[str, AfterValidator(_host_name)],
            Annotated[Host, BeforeValidator(_host)],
        ],
        # A spread placement group takes ten servers.
        Field(min_length=1, max_length=10),
    ]


@dataclass(frozen=True)
class Placed:
    """One host of the site, with what its pool says of it."""

    name: str
    pool: str
    address: str
    services: tuple[str, ...]
    cpus: Cpus
    server_type: str | None
    image: str
    # None: a cloud server.
    dedicated: Dedicated | None
    said: Host


class Site(Model):
    name: Name
    environment: Literal["emulated", "hetzner"]
    location: Annotated[str, AfterValidator(_location)]
    emulator: Emulator = Emulator()
    network: Network
    ssh: Ssh
    firewall: Firewall = Firewall()
    mirror: Mirror | None = None
    # Hetzner refuses to delete or rebuild a protected server until the protection is lifted.
    protection: bool = False
    pools: Annotated[dict[Annotated[str, AfterValidator(_pool)], Pool], Field(min_length=1)]

    @property
    def emulated(self) -> bool:
        return self.environment == "emulated"

    @cached_property
    def hosts(self) -> tuple[Placed, ...]:
        return tuple(
            Placed(
                name=name,
                pool=pool_name,
                address=str(host.address),
                services=tuple(pool.services if host.services is None else host.services),
                cpus=pool.cpus,
                server_type=pool.server_type,
                image=pool.image,
                dedicated=pool.dedicated,
                said=host,
            )
            for pool_name, pool in self.pools.items()
            for name, host in pool.hosts.items()
        )


def parse(raw: Any, source: str, more: tuple[Problem, ...] = ()) -> Site:
    """The site, or InvalidSite with every problem found; `more` are problems that the caller knows of."""
    from infra.site_rules import problems_of

    problems = list(more)
    if not isinstance(raw, dict):
        problems.append(Problem("baretick:site", "the site is missing", "Describe it as Pulumi.local.yaml does"))
        raise InvalidSite(source, problems)
    site, faults = _validated(raw)
    problems += faults
    if site is not None:
        problems += problems_of(site, whole=not faults)
    if problems or site is None:
        raise InvalidSite(source, problems)
    return site


def _validated(raw: dict[str, Any]) -> tuple[Site | None, list[Problem]]:
    """The site as far as it can be understood, and its faults: what is faulty is left out, so the rest is checked."""
    problems: list[Problem] = []
    while True:
        try:
            return Site.model_validate(raw), problems
        except ValidationError as error:
            details = error.errors()
        # What is missing only because of what was left out is no fault of the person's.
        if not problems:
            problems = from_pydantic(Site, details)
        places = [tuple(p for p in e["loc"] if p != "[key]")[: -1 if e["type"] == "missing" else None] for e in details]
        if any(len(place) < 2 and e["type"] != "extra_forbidden" for place, e in zip(places, details, strict=True)):
            return None, problems
        pruned = site_file.without(raw, places)
        if pruned == raw:
            return None, problems
        raw = pruned


def load_stack(stack: str, root: Path | None = None) -> Site:
    """The site that Pulumi.<stack>.yaml describes; raises InvalidSite."""
    description = site_file.read_stack(stack, root)
    return parse(description.site, description.source, description.problems)
