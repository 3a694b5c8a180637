"""A site's description: what is accepted, and what each kind of mistake is told."""

import copy
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.problems import InvalidSite
from infra.site import POOLS, SERVICE_POOLS, Site, load_stack, parse

ROOT = Path(__file__).resolve().parents[2]
LOCAL = yaml.safe_load((ROOT / "Pulumi.local.yaml").read_text())["config"]["baretick:site"]


def site(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The local site with values set (dotted path, value); a value of ... removes the key."""
    raw = copy.deepcopy(LOCAL)
    for path, value in changes:
        at = raw
        *parents, last = path.split("/")
        for part in parents:
            at = at[part]
        if value is ...:
            del at[last]
        else:
            at[last] = value
    return raw


def told(*changes: tuple[str, Any]) -> list[str]:
    with pytest.raises(InvalidSite) as caught:
        parse(site(*changes), "Pulumi.local.yaml")
    return [str(p) for p in caught.value.problems]


def test_the_local_stack_has_three_pools_and_every_service_once() -> None:
    local = load_stack("local")
    assert {h.name: h.pool for h in local.hosts} == {"data-1": "data", "latency-1": "latency", "ops-1": "ops"}
    assert sorted(s for h in local.hosts for s in h.services) == sorted(SERVICE_POOLS)
    assert local.emulated and local.emulator.port == 8901


def test_the_production_stack_is_a_real_one_without_a_stand_in() -> None:
    prod = load_stack("prod")
    assert prod.environment == "hetzner" and prod.protection
    assert "venue" not in {s for h in prod.hosts for s in h.services}


@pytest.mark.parametrize(
    ("changes", "where", "what", "mend"),
    [
        pytest.param(
            [("pools/latency/cpus", {"total": 2, "housekeeping": "0-1", "isolated": "1"})],
            "pools.latency.cpus",
            "CPU 1 is both housekeeping (0-1) and isolated (1)",
            "Leave it in one list",
            id="overlapping CPUs",
        ),
        pytest.param(
            [("pools/latency/cpus", {"total": 2, "housekeeping": 0, "isolated": "1-4"})],
            "pools.latency.cpus",
            "CPU 2-4 does not exist: the host has CPUs 0-1",
            "larger server type",
            id="unknown CPUs",
        ),
        pytest.param(
            [("pools/latency/cpus/isolated", "one")],
            "pools.latency.cpus.isolated",
            '"one" is neither a CPU nor a range',
            'Write it like "0-1,4"',
            id="not a CPU list",
        ),
        pytest.param(
            [("pools/latency/cpus", {"total": 4, "housekeeping": 0, "isolated": 1})],
            "pools.latency.cpus",
            "CPU 2-3 is neither housekeeping nor isolated",
            "Name every CPU",
            id="forgotten CPUs",
        ),
        pytest.param(
            [("pools/ops/hosts/ops-1", "10.78.1.31")],
            "pools.ops.hosts.ops-1",
            "address 10.78.1.31 lies outside the subnet 10.77.1.0/24",
            "between 10.77.1.1 and 10.77.1.254",
            id="address outside the network",
        ),
        pytest.param(
            [("pools/ops/hosts/ops-1", "10.77.1.11")],
            "pools.ops.hosts.ops-1",
            "address 10.77.1.11 is already that of pools.data.hosts.data-1",
            "another",
            id="address taken",
        ),
        pytest.param(
            [("pools/ops/hosts/ops-1", "10.77.1.255")],
            "pools.ops.hosts.ops-1",
            "the broadcast address",
            "another",
            id="broadcast address",
        ),
        pytest.param(
            [("network/subnet", "10.77.0.0/24"), ("pools/ops/hosts/ops-1", "10.77.0.1")],
            "pools.ops.hosts.ops-1",
            "the gateway of the network",
            "another",
            id="gateway's address",
        ),
        pytest.param(
            [("network/subnet", "10.78.1.0/24")],
            "network.subnet",
            "10.78.1.0/24 lies outside the network 10.77.0.0/16",
            '"10.77.0.0/24"',
            id="subnet outside the network",
        ),
        pytest.param(
            [("network/subnet", "10.77.0.0/16")],
            "network.subnet",
            "no room for a vSwitch subnet",
            '"10.77.0.0/24"',
            id="subnet fills the network",
        ),
        pytest.param(
            [("pools/ops/hosts", {"data-1": "10.77.1.31"})],
            "pools.ops.hosts.data-1",
            'host name "data-1" is already used at pools.data.hosts.data-1',
            "Rename one",
            id="duplicate host name",
        ),
        pytest.param(
            [("pools/ops/hosts", {"Ops_1": "10.77.1.31"})],
            "pools.ops.hosts.Ops_1",
            '"Ops_1" is not a valid name',
            "lower-case letters",
            id="invalid host name",
        ),
        pytest.param(
            [("pools/ops/hosts", {"kafka": "10.77.1.31"})],
            "pools.ops.hosts.kafka",
            "a group of the inventory",
            '"kafka-1"',
            id="host named as a group",
        ),
        pytest.param(
            [("pools/latencyy", LOCAL["pools"]["latency"]), ("pools/latency", ...)],
            "pools.latencyy",
            'unknown pool "latencyy"',
            'Write "latency"',
            id="unknown pool",
        ),
        pytest.param(
            [("pools/latency/services", ["engnie"])],
            "pools.latency.services.0",
            'unknown service "engnie"',
            'Write "engine"',
            id="unknown service",
        ),
        pytest.param(
            [
                ("pools/latency/services", ["engine", "kafka"]),
                ("pools/data/services", LOCAL["pools"]["data"]["services"][1:]),
            ],
            "pools.latency.hosts.latency-1",
            'service "kafka" cannot stand in pool latency, where nothing but the engine runs',
            "Move it to data",
            id="data service on a latency host",
        ),
        pytest.param(
            [("pools/data/services", LOCAL["pools"]["data"]["services"][1:])],
            "pools",
            'service "kafka" stands nowhere',
            "Add it to pool data",
            id="service missing",
        ),
        pytest.param(
            [("pools/data/hosts/data-2", "10.77.1.12")],
            "pools",
            'service "kafka" stands on data-1, data-2, but must exist once',
            "Keep one",
            id="service twice",
        ),
        pytest.param(
            [("pools/data/services", [*LOCAL["pools"]["data"]["services"], "node_exporter"])],
            "pools.data.services.5",
            '"node_exporter" runs on every host',
            "Remove it",
            id="common service listed",
        ),
        pytest.param(
            [("mirro", {"url": "http://x"})], "mirro", 'unknown key "mirro"', 'Write "mirror"', id="typo at the top"
        ),
        pytest.param(
            [("pools/data/server_typ", "cx1")],
            "pools.data.server_typ",
            'unknown key "server_typ"',
            'Write "server_type"',
            id="typo within a pool",
        ),
        pytest.param([("location", ...)], "location", "missing", 'Add "location"', id="missing key"),
        pytest.param(
            [("location", "fsn1-dc14")], "location", "a datacenter, not a location", '"fsn1"', id="datacenter"
        ),
        pytest.param([("location", "ash")], "network.zone", "location ash is not in", '"us-east"', id="zone"),
        pytest.param(
            [("ssh/admin_cidrs", ["0.0.0.0/0"])],
            "ssh.admin_cidrs.0",
            "the whole internet",
            "Name the networks",
            id="ssh open to the internet",
        ),
        pytest.param(
            [("ssh/identity_file", "~/.ssh/id")],
            "ssh",
            "belong together",
            "Name both",
            id="half a key pair",
        ),
        pytest.param(
            [("mirror/url", "10.77.0.1:8480")], "mirror.url", "not an http(s) address", "http://", id="mirror"
        ),
        pytest.param([("emulator/port", 80)], "emulator.port", "1024", "Correct", id="privileged port"),
    ],
)
def test_each_mistake_is_told_with_its_place_and_its_cure(
    changes: list[tuple[str, Any]], where: str, what: str, mend: str
) -> None:
    problems = told(*changes)
    mine = [p for p in problems if p.startswith(f"{where}: ")]
    assert any(what in p and mend in p.split(what)[1] for p in mine), problems
    assert all("\n" not in p for p in problems)


def test_a_real_site_needs_a_key_pair_and_neither_emulator_nor_stand_in() -> None:
    problems = told(("environment", "hetzner"))
    assert [p.split(":")[0] for p in problems] == ["pools", "emulator", "ssh.public_key", "ssh.identity_file"]
    assert "venue stand-in" in problems[0]


def test_every_problem_is_told_at_once_even_where_parts_are_faulty() -> None:
    problems = told(
        ("naem", "x"),
        ("pools/latency/cpus", {"total": 2, "housekeeping": "0-1", "isolated": "1"}),
        ("pools/latency/services", ["engnie"]),
        ("pools/ops/hosts/ops-1", "10.78.1.31"),
        ("pools/ops/hosts/latency-1", {"address": "10.77.1.32", "services": []}),
    )
    assert sorted(p.split(":")[0] for p in problems) == [
        "naem",
        "pools.latency.cpus",
        "pools.latency.services.0",
        "pools.ops.hosts.latency-1",
        "pools.ops.hosts.ops-1",
    ]


def test_the_message_counts_the_problems_and_gives_each_a_paragraph() -> None:
    with pytest.raises(InvalidSite) as caught:
        parse(site(("naem", "x"), ("mirro", 1)), "Pulumi.x.yaml")
    head, *paragraphs = str(caught.value).split("\n\n")
    assert head == "Pulumi.x.yaml: 2 problems; nothing was changed."
    assert len(paragraphs) == 2


def test_a_missing_site_says_where_to_look_for_one() -> None:
    with pytest.raises(InvalidSite, match=r"Describe it as Pulumi\.local\.yaml does"):
        parse(None, "Pulumi.x.yaml")


def test_a_host_may_take_its_own_share_of_the_pools_services() -> None:
    services = LOCAL["pools"]["data"]["services"]
    built = parse(
        site(
            ("pools/data/hosts/data-1", {"address": "10.77.1.11", "services": services[:2]}),
            ("pools/data/hosts/data-2", {"address": "10.77.1.12", "services": services[2:]}),
        ),
        "x",
    )
    assert [h.services for h in built.hosts if h.pool == "data"] == [tuple(services[:2]), tuple(services[2:])]


def test_a_key_written_twice_is_told_with_both_lines(tmp_path: Path) -> None:
    text = (
        (ROOT / "Pulumi.local.yaml")
        .read_text()
        .replace("data-1: 10.77.1.11", "data-1: 10.77.1.11\n          data-1: 10.77.1.12")
    )
    (tmp_path / "Pulumi.x.yaml").write_text(text)
    first = next(i for i, line in enumerate(text.splitlines(), 1) if "data-1:" in line)
    with pytest.raises(InvalidSite) as caught:
        load_stack("x", tmp_path)
    assert [str(p) for p in caught.value.problems] == [
        f'pools.data.hosts.data-1: "data-1" is written twice, on lines {first} and {first + 1}. '
        "Give one of them another name, or remove it."
    ]


def test_what_is_not_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.x.yaml").write_text("config:\n  a: [1\n  b: 2\n")
    with pytest.raises(InvalidSite, match=r"line 3: not YAML"):
        load_stack("x", tmp_path)


def test_an_unknown_stack_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidSite, match=r"no stack \"locl\"\. Write \"local\""):
        load_stack("locl")


def _accepted(raw: dict[str, Any]) -> Site | None:
    try:
        return parse(raw, "x")
    except InvalidSite:
        return None


@given(st.ip_addresses(v=4, network="10.77.0.0/22"))
def test_a_host_is_accepted_exactly_where_its_address_is_free_and_usable(address: Any) -> None:
    subnet = IPv4Network("10.77.1.0/24")
    free = address in subnet and str(address) not in ("10.77.1.0", "10.77.1.255", "10.77.1.11", "10.77.1.21")
    assert (_accepted(site(("pools/ops/hosts/ops-1", str(address)))) is not None) == free


@given(
    total=st.integers(1, 12),
    housekeeping=st.sets(st.integers(0, 12)),
    isolated=st.sets(st.integers(0, 12)),
)
def test_cpus_are_accepted_exactly_where_they_partition_the_host(
    total: int, housekeeping: set[int], isolated: set[int]
) -> None:
    cpus = {
        "total": total,
        "housekeeping": ",".join(map(str, sorted(housekeeping))),
        "isolated": ",".join(map(str, sorted(isolated))),
    }
    whole = bool(housekeeping) and not housekeeping & isolated and housekeeping | isolated == set(range(total))
    assert (_accepted(site(("pools/latency/cpus", cpus))) is not None) == whole


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
places = st.sampled_from(
    ["name", "environment", "location", "emulator", "network", "ssh", "firewall", "mirror", "protection", "pools"]
    + [f"pools/{p}" for p in POOLS]
    + [f"pools/{p}/{k}" for p in POOLS for k in ("server_type", "services", "cpus", "hosts")]
    + [
        "pools/data/hosts/data-1",
        "network/cidr",
        "network/subnet",
        "ssh/admin_cidrs",
        "pools/data/cpus/housekeeping",
    ]
)


@given(places, json_values)
def test_whatever_stands_in_a_site_file_gives_a_site_or_a_message(place: str, value: Any) -> None:
    raw = site((place, value))
    built = _accepted(raw)
    assert built is None or built.hosts
