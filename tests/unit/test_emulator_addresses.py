"""Addresses: never one twice, never one outside its subnet, never the gateway's."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.emulator.addresses import (
    PUBLIC_GATEWAY,
    PUBLIC_RANGE,
    check_private,
    gateway_of,
    mac,
    next_private,
    next_public,
)
from infra.emulator.errors import ApiError

NETWORK = "10.77.0.0/16"


@given(st.lists(st.integers(24, 30), min_size=1, max_size=4), st.integers(0, 40))
def test_private_addresses_are_distinct_inside_the_subnets_and_not_reserved(prefixes: list[int], wanted: int) -> None:
    subnets = [f"10.77.{at}.0/{prefix}" for at, prefix in enumerate(prefixes)]
    room = sum(IPv4Network(s).num_addresses - 2 for s in subnets) - 1  # .1 of the first is the gateway
    used: set[str] = set()
    for _ in range(min(wanted, room)):
        ip = next_private(NETWORK, subnets, used)
        home = next(n for n in map(IPv4Network, subnets) if IPv4Address(ip) in n)
        assert ip not in used
        assert ip != gateway_of(NETWORK)
        assert IPv4Address(ip) not in (home.network_address, home.broadcast_address)
        used.add(ip)


def test_a_full_subnet_says_so_and_the_next_one_is_taken() -> None:
    subnets = ["10.77.1.0/30", "10.77.2.0/30"]
    used: set[str] = set()
    for _ in range(4):
        used.add(next_private(NETWORK, subnets, used))
    assert used == {"10.77.1.1", "10.77.1.2", "10.77.2.1", "10.77.2.2"}
    with pytest.raises(ApiError) as refused:
        next_private(NETWORK, subnets, used)
    assert refused.value.code == "ip_not_available"


def test_a_network_without_subnet_has_no_address() -> None:
    with pytest.raises(ApiError) as refused:
        next_private(NETWORK, [], set())
    assert refused.value.code == "no_subnet_available"


@pytest.mark.parametrize(
    ("ip", "code"),
    [
        ("10.78.1.5", "invalid_input"),
        ("10.77.1.0", "invalid_input"),
        ("10.77.1.255", "invalid_input"),
        ("10.77.0.1", "invalid_input"),
        ("host", "invalid_input"),
        ("10.77.1.9", "ip_not_available"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(ip: str, code: str) -> None:
    with pytest.raises(ApiError) as refused:
        check_private(ip, NETWORK, ["10.77.1.0/24", "10.77.0.0/24"], {"10.77.1.9"})
    assert refused.value.code == code


def test_public_addresses_end_with_the_range_and_spare_the_gateway() -> None:
    used: set[str] = set()
    with pytest.raises(ApiError) as refused:
        while True:
            used.add(next_public(used))
    assert refused.value.code == "resource_limit_exceeded"
    assert str(PUBLIC_GATEWAY) not in used
    assert all(IPv4Address(ip) in PUBLIC_RANGE for ip in used)
    assert len(used) > 200


@given(st.sets(st.integers(0, 2**32 - 1), min_size=2, max_size=20))
def test_hardware_addresses_differ_as_their_numbers_do(idents: set[int]) -> None:
    assert len({mac(0x86, i) for i in idents}) == len(idents)
    assert all(int(mac(0x86, i).split(":")[0], 16) & 1 == 0 for i in idents)  # no multicast
