"""What was answered is remembered: across restarts, through interruption, and never as half a file."""

import asyncio
import threading
from pathlib import Path

import pytest

from infra.emulator.errors import EmulatorError
from infra.emulator.machines.base import MachineSpec
from infra.emulator.machines.none import NoMachines
from infra.emulator.model import Action
from infra.emulator.store import ACTIONS_KEPT, Store
from infra.emulator.testing import Running, running_api

NETWORK = {
    "name": "site",
    "ip_range": "10.77.0.0/16",
    "subnets": [{"type": "cloud", "network_zone": "eu-central", "ip_range": "10.77.1.0/24"}],
}


def fill(api: Running) -> None:
    client = api.client
    network = client.call("POST", "/v1/networks", NETWORK)["network"]
    client.call("POST", "/v1/placement_groups", {"name": "g", "type": "spread", "labels": {"a": "b"}})
    for name in ("data-1", "ops-1"):
        body = {"name": name, "server_type": "cx33", "image": "debian-13", "networks": [network["id"]]}
        client.settle(client.call("POST", "/v1/servers", {**body, "user_data": f"#cloud-config\n# {name}\n"})["action"])
    off = client.every("servers")[1]["id"]
    client.settle(client.call("POST", f"/v1/servers/{off}/actions/poweroff")["action"])


def seen(api: Running) -> dict[str, object]:
    families = ("networks", "placement_groups", "servers", "primary_ips", "actions")
    return {family: api.client.every(family) for family in families}


def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    with running_api(tmp_path / "state.json") as api:
        fill(api)
        before = seen(api)
    with running_api(tmp_path / "state.json") as api:
        assert seen(api) == before
        assert api.cloud.db.servers[before["servers"][0]["id"]].user_data == "#cloud-config\n# data-1\n"  # type: ignore[index]


def test_ids_are_not_given_again_after_a_restart(tmp_path: Path) -> None:
    with running_api(tmp_path / "state.json") as api:
        first = api.client.call("POST", "/v1/networks", NETWORK)["network"]["id"]
        api.client.call("DELETE", f"/v1/networks/{first}")
    with running_api(tmp_path / "state.json") as api:
        assert api.client.call("POST", "/v1/networks", NETWORK)["network"]["id"] > first


class StuckMachines(NoMachines):
    async def boot(self, spec: MachineSpec) -> None:
        await asyncio.Event().wait()


def test_a_creation_cut_short_is_completed_by_the_next_start(tmp_path: Path) -> None:
    with running_api(tmp_path / "state.json", StuckMachines()) as api:
        body = {"name": "a", "server_type": "cx33", "image": "debian-13"}
        action = api.client.call("POST", "/v1/servers", body)["action"]
        assert api.client.get(f"/v1/actions/{action['id']}")["action"]["status"] == "running"
    machines = NoMachines()
    with running_api(tmp_path / "state.json", machines) as api:
        server = api.client.every("servers")[0]
        assert server["status"] == "running"
        assert machines.alive(server["id"])
        assert api.client.get(f"/v1/actions/{action['id']}")["action"]["status"] == "success"


class UndeletableMachines(NoMachines):
    async def delete(self, ident: int) -> None:
        await asyncio.Event().wait()


def test_a_deletion_cut_short_is_completed_by_the_next_start(tmp_path: Path) -> None:
    with running_api(tmp_path / "state.json", UndeletableMachines()) as api:
        body = {"name": "a", "server_type": "cx33", "image": "debian-13"}
        made = api.client.call("POST", "/v1/servers", body)
        api.client.settle(made["action"])
        api.client.call("DELETE", f"/v1/servers/{made['server']['id']}")
    machines = NoMachines()
    machines._disks.add(made["server"]["id"])
    with running_api(tmp_path / "state.json", machines) as api:
        assert api.client.every("servers") == []
        assert api.client.every("primary_ips") == []
        assert machines.known() == set()


def test_a_machine_that_should_be_on_is_booted_at_the_start_and_one_that_should_not_is_left(tmp_path: Path) -> None:
    with running_api(tmp_path / "state.json") as api:
        fill(api)
    machines = NoMachines()
    with running_api(tmp_path / "state.json", machines) as api:
        on = {s["name"] for s in api.client.every("servers") if machines.alive(s["id"])}
        assert on == {"data-1"}


def test_state_that_cannot_be_read_is_named_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text('{"version": 1, "servers": {"7": {"id": 7}}}')
    with pytest.raises(EmulatorError, match=r"state\.json cannot be read: .* at servers\.7"):
        Store(file)
    assert '"servers"' in file.read_text()


def test_the_state_file_is_private_and_never_seen_half_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.json")
    store.save()
    broken: list[Exception] = []
    done = threading.Event()

    def reader() -> None:
        while not done.is_set():
            try:
                Store(tmp_path / "state.json")
            except Exception as error:
                broken.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    for i in range(40):
        store.db.actions[i] = Action(id=i, command="x" * 2000)
        store.save()
    done.set()
    thread.join()
    assert broken == []
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


def test_old_actions_are_forgotten_but_never_a_running_one() -> None:
    store = Store(None)
    for i in range(ACTIONS_KEPT + 50):
        store.db.actions[i] = Action(id=i, command="x", status="running" if i == 3 else "success")
    store.save()
    assert len(store.db.actions) == ACTIONS_KEPT + 1
    assert 3 in store.db.actions
