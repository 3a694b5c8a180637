"""The parts around the API: the way to packages, relays, children, first-boot data, the lab's arguments."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from infra.emulator import apt, children, lab, squid
from infra.emulator.errors import EmulatorError
from infra.emulator.machines import seed
from infra.emulator.machines.base import MachineSpec, Nic
from infra.emulator.machines.nspawn import interfaces
from infra.emulator.process import ProcessRef
from infra.emulator.relay import Namespace, Relay, parse_address

SPEC = MachineSpec(
    id=1001,
    name="data-1",
    suite="trixie",
    user_data="#!/bin/sh\necho $x: {verbatim}\n",
    authorized_keys=("ssh-ed25519 AAAA operator",),
    public_ipv4="198.51.100.10/24",
    public_ipv6="2001:db8:0:3e9::1/64",
    public_mac="96:00:00:00:03:e9",
    nics=(Nic("enp7s0", "86:00:00:00:0f:a4", ("10.77.1.11/16", "10.77.1.20/32"), "net1000"),),
)


def test_first_boot_data_carries_keys_name_and_user_data_verbatim(tmp_path: Path) -> None:
    seed.write(tmp_path, SPEC, "local")
    folder = tmp_path / seed.SEED
    assert (folder / "user-data").read_text() == SPEC.user_data
    meta = json.loads((folder / "meta-data").read_text())
    assert (meta["local-hostname"], meta["public-keys"]) == ("data-1", list(SPEC.authorized_keys))
    network = yaml.safe_load((folder / "network-config").read_text())
    assert network["ethernets"]["host0"]["addresses"] == ["198.51.100.10/24", "2001:db8:0:3e9::1/64"]
    assert network["ethernets"]["host0"]["routes"][0]["via"] == "198.51.100.1"
    # It holds the host's private key: nobody else on this machine reads it.
    assert (folder / "user-data").stat().st_mode & 0o077 == 0


def test_machine_ids_differ_between_servers_and_instances_and_stay(tmp_path: Path) -> None:
    ids = []
    for folder, instance in (("a", "local"), ("b", "e2e"), ("c", "local")):
        seed.write(tmp_path / folder, SPEC, instance)
        ids.append((tmp_path / folder / "etc/machine-id").read_text().strip())
    assert ids[0] == ids[2] != ids[1]
    assert all(len(i) == 32 for i in ids)


def test_outer_ends_of_interfaces_fit_the_kernel_and_are_unique() -> None:
    found = [i["outer"] for ident in (1001, 9_999_999) for i in interfaces(spec_with(ident))]
    assert len(set(found)) == len(found)
    assert all(len(name) <= 15 for name in found)


def spec_with(ident: int) -> MachineSpec:
    nic = SPEC.nics[0]
    return MachineSpec(**{**SPEC.__dict__, "id": ident, "nics": (nic, nic, nic)})


def test_squid_lets_plain_mirrors_be_read_and_tunnels_only_to_secure_ones() -> None:
    plain = squid.config("local", 3128, {"mirror.example": False})
    assert "acl mirrors dstdomain mirror.example\n" in plain
    assert "CONNECT" not in plain
    assert plain.index("http_access allow reading mirrors plain") < plain.index("http_access deny all")
    assert "http_port 127.0.0.1:3128\n" in plain
    both = squid.config("local", 3128, {"mirror.example": False, "secure.example": True})
    assert "acl secure_mirrors dstdomain secure.example\n" in both
    assert both.index("http_access allow tunnel secure_mirrors https") < both.index("http_access deny all")


def use_sources(monkeypatch: pytest.MonkeyPatch, release: dict[str, str], *sources: apt.Source) -> None:
    monkeypatch.delenv("BARETICK_DEBIAN_MIRROR", raising=False)
    monkeypatch.setattr(apt, "os_release", lambda: release)
    monkeypatch.setattr(apt, "_targets", lambda: sources)


def test_hosts_use_this_machines_mirrors_under_their_own_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    use_sources(
        monkeypatch,
        {"ID": "debian", "VERSION_CODENAME": "bookworm"},
        apt.Source("http://a.example/debian", "bookworm"),
        apt.Source("http://a.example/debian", "bookworm-updates"),
        apt.Source("https://b.example/security", "bookworm-security"),
        apt.Source("https://tools.example", "stable"),
        apt.Source("http://a.example/debian", "bookworm-backports"),
    )
    assert [s.line for s in apt.sources_for("trixie")] == [
        "deb http://a.example/debian trixie main",
        "deb https://b.example/security trixie-security main",
        "deb http://a.example/debian trixie-updates main",
    ]
    assert apt.mirror_hosts("trixie") == {"a.example": False, "b.example": True, "tools.example": True}


@pytest.mark.parametrize("release", [{"ID": "ubuntu", "VERSION_CODENAME": "noble"}, {"ID": "debian"}])
def test_a_system_without_debian_mirrors_is_told_which_variable_helps(
    monkeypatch: pytest.MonkeyPatch, release: dict[str, str]
) -> None:
    use_sources(monkeypatch, release, apt.Source("http://a.example/x", "noble"))
    with pytest.raises(EmulatorError, match="BARETICK_DEBIAN_MIRROR"):
        apt.sources_for("trixie")
    monkeypatch.setenv("BARETICK_DEBIAN_MIRROR", "http://m.example/debian/")
    assert [s.line for s in apt.sources_for("trixie")] == ["deb http://m.example/debian trixie main"]


async def echo_server() -> asyncio.Server:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Answers only once the other side has finished: a half-closed connection must be passed on as one.
        writer.write(await reader.read())
        await writer.drain()
        writer.close()

    return await asyncio.start_server(echo, "127.0.0.1", 0)


async def test_a_relay_passes_all_bytes_and_the_end_of_them_both_ways() -> None:
    server = await echo_server()
    here = Namespace(None)
    listener = await here.listen(("127.0.0.1", 0))
    relay = Relay(listener, lambda: server.sockets[0].getsockname(), here)
    payload = os.urandom(3_000_000)

    async def once() -> bytes:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(payload)
        writer.write_eof()
        back = await reader.read()
        writer.close()
        return back

    assert await asyncio.gather(*(once() for _ in range(5))) == [payload] * 5
    await relay.close()
    server.close()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1] if server.sockets else 1)


async def test_a_relay_to_nobody_closes_the_connection_and_goes_on() -> None:
    here = Namespace(None)
    dead = await here.listen(("127.0.0.1", 0))
    target = dead.getsockname()
    dead.close()
    listener = await here.listen(("127.0.0.1", 0))
    relay = Relay(listener, lambda: target, here)
    for _ in range(2):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
    await relay.close()


@pytest.mark.parametrize("text", ["", "host:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", "127.0.0.1:70000"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        parse_address(text)


async def wait_for(holds: Callable[[], object]) -> None:
    for _ in range(200):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("not within 10 s")


async def test_a_child_that_dies_is_started_again_and_ended_with_its_keeper(tmp_path: Path) -> None:
    child = children.Child("nap", ["sleep", "600"], tmp_path, tmp_path)
    child.start()
    await wait_for(lambda: child.pid)
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await wait_for(lambda: child.pid not in (None, first))
    second = child.pid
    assert second is not None
    assert child.restarts == 1
    await child.close()
    assert ProcessRef.of(second) is None
    assert not (tmp_path / "nap.json").exists()


async def test_a_child_left_by_a_killed_keeper_is_ended_before_the_next_begins(tmp_path: Path) -> None:
    left = await asyncio.create_subprocess_exec("sleep", "600")
    ref = ProcessRef.of(left.pid)
    assert ref is not None
    (tmp_path / "nap.json").write_text(ref.model_dump_json())
    child = children.Child("nap", ["sleep", "600"], tmp_path, tmp_path)
    child.start()
    assert await left.wait() == -signal.SIGTERM
    await wait_for(lambda: child.pid)
    await child.close()


async def test_a_child_that_keeps_failing_is_tried_ever_more_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "PAUSE_FIRST", 0.2)
    child = children.Child("bad", [sys.executable, "-c", "raise SystemExit('no')"], tmp_path, tmp_path)
    child.start()
    await asyncio.sleep(1.5)
    await child.close()
    assert 1 <= child.restarts <= 3  # 0.2 + 0.4 + 0.8 s of pauses
    assert "no" in (tmp_path / "bad.log").read_text()


@pytest.mark.parametrize("text", ["a", "a=1", "a=10.1.1.1,a=10.1.1.2", "a=10.1.1.1,b=10.1.1.1"])
def test_lab_hosts_must_be_names_with_distinct_addresses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        lab.parse_hosts(text)


def test_lab_user_data_is_cloud_config_that_pins_the_key(tmp_path: Path) -> None:
    key = lab._key(tmp_path / "a", "a")
    text = lab.user_data(key)
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    assert document["ssh_keys"] == {
        "ed25519_private": key.read_text(),
        "ed25519_public": (tmp_path / "a.pub").read_text().strip(),
    }
