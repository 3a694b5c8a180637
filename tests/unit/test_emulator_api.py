"""The API as Hetzner's own Python client sees it, without machines."""

import asyncio
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from hcloud import APIException, Client
from hcloud.actions import ActionException
from hcloud.firewalls import FirewallResource, FirewallResourceLabelSelector, FirewallRule
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.networks import NetworkRoute, NetworkSubnet
from hcloud.placement_groups import BoundPlacementGroup
from hcloud.server_types import ServerType
from hcloud.servers import BoundServer, ServerCreatePublicNetwork

from infra.emulator.errors import EmulatorError
from infra.emulator.machines.base import MachineSpec
from infra.emulator.machines.none import NoMachines
from infra.emulator.testing import Running, running_api

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM/FTzzgKW8+qllu9EzfLLUaUlqYh8K8V+Yfqc0qR963 operator"
SUBNET = NetworkSubnet(ip_range="10.77.1.0/24", type="cloud", network_zone="eu-central")


@pytest.fixture
def api() -> Iterator[Running]:
    with running_api() as running:
        yield running


@pytest.fixture
def hetzner(api: Running) -> Client:
    return connect(api)


def connect(api: Running, token: str = "t" * 64) -> Client:
    return Client(token, api_endpoint=api.endpoint, poll_interval=0.01)


def make_server(hetzner: Client, name: str, **more: object) -> BoundServer:
    answer = hetzner.servers.create(
        name, ServerType(name="cx33"), Image(name="debian-13"), location=Location(name="fsn1"), **more
    )
    answer.action.wait_until_finished()
    for action in answer.next_actions:
        action.wait_until_finished()
    answer.server.reload()
    return answer.server


@pytest.mark.parametrize("token", ["short", "t" * 63, "t" * 65])
def test_a_token_that_is_not_64_characters_is_unauthorized(api: Running, token: str) -> None:
    with pytest.raises(APIException) as refused:
        connect(api, token).locations.get_all()
    assert refused.value.code == "unauthorized"
    assert str(len(token)) in refused.value.message


def test_an_ssh_key_has_the_md5_fingerprint_that_ssh_keygen_prints(hetzner: Client, tmp_path) -> None:
    file = tmp_path / "key.pub"
    file.write_text(KEY)
    printed = subprocess.run(["ssh-keygen", "-E", "md5", "-lf", str(file)], capture_output=True, text=True, check=True)
    key = hetzner.ssh_keys.create("operator", KEY)
    assert f"MD5:{key.fingerprint}" == printed.stdout.split()[1]
    assert hetzner.ssh_keys.get_by_fingerprint(key.fingerprint).id == key.id


@pytest.mark.parametrize(
    "text",
    [
        "ssh-ed25519",
        "ssh-ed25519 not-base64!",
        "ssh-dss AAAAC3NzaC1lZDI1NTE5AAAAIM/FTzzgKW8+qllu9EzfLLUaUlqYh8K8V+Yfqc0qR963",
        # cut short, and labelled as what it is not
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM/FTzzgKW8+qllu9EzfLLUa",
        "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIM/FTzzgKW8+qllu9EzfLLUaUlqYh8K8V+Yfqc0qR963",
    ],
)
def test_what_is_no_ssh_key_is_refused_by_field(hetzner: Client, text: str) -> None:
    with pytest.raises(APIException) as refused:
        hetzner.ssh_keys.create("bad", text)
    assert refused.value.code == "invalid_input"
    assert [f["name"] for f in refused.value.details["fields"]] == ["public_key"]


def test_a_second_key_of_the_same_name_or_data_is_a_uniqueness_error(hetzner: Client) -> None:
    hetzner.ssh_keys.create("operator", KEY)
    for name, key in (("operator", KEY), ("other", KEY)):
        with pytest.raises(APIException) as refused:
            hetzner.ssh_keys.create(name, key)
        assert refused.value.code == "uniqueness_error"


def test_subnets_stay_inside_their_network_and_apart(hetzner: Client) -> None:
    network = hetzner.networks.create("site", "10.77.0.0/16")
    network.add_subnet(SUBNET).wait_until_finished()
    for wrong in ("10.78.1.0/24", "10.77.1.128/25", "10.77.0.0/16"):
        with pytest.raises(APIException) as refused:
            network.add_subnet(NetworkSubnet(ip_range=wrong, type="cloud", network_zone="eu-central"))
        assert refused.value.code == "invalid_input"
        assert refused.value.details["fields"][0]["name"] == "ip_range"
    network.reload()
    assert [(s.ip_range, s.gateway) for s in network.subnets] == [("10.77.1.0/24", "10.77.0.1")]
    network.delete_subnet(SUBNET).wait_until_finished()
    network.reload()
    assert network.subnets == []


@pytest.mark.parametrize("ip_range", ["8.8.0.0/16", "10.77.0.1/16", "10.77.0.0/25", "no"])
def test_a_network_needs_a_private_range_without_host_bits(hetzner: Client, ip_range: str) -> None:
    with pytest.raises(APIException) as refused:
        hetzner.networks.create("site", ip_range)
    assert refused.value.code == "invalid_input"
    assert refused.value.details["fields"][0]["name"] == "ip_range"


def test_routes_are_added_once_and_removed(hetzner: Client) -> None:
    network = hetzner.networks.create("site", "10.77.0.0/16")
    route = NetworkRoute(destination="10.100.1.0/24", gateway="10.77.1.11")
    network.add_route(route).wait_until_finished()
    with pytest.raises(APIException, match="invalid"):
        network.add_route(route)
    network.delete_route(route).wait_until_finished()
    network.reload()
    assert network.routes == []


def test_a_server_is_created_running_with_address_and_network(hetzner: Client) -> None:
    network = hetzner.networks.create("site", "10.77.0.0/16", subnets=[SUBNET])
    group = hetzner.placement_groups.create("spread", "spread").placement_group
    server = make_server(hetzner, "data-1", networks=[network], placement_group=group, labels={"pool": "data"})
    assert server.status == "running"
    assert server.public_net.ipv4.ip.startswith("198.51.100.")
    assert [n.ip for n in server.private_net] == ["10.77.1.1"]
    assert isinstance(server.placement_group, BoundPlacementGroup)
    group.reload()
    network.reload()
    assert group.servers == [server.id]
    assert [s.id for s in network.servers] == [server.id]


def test_a_creation_that_is_refused_takes_nothing(hetzner: Client) -> None:
    network = hetzner.networks.create("empty", "10.77.0.0/16")  # without a subnet
    with pytest.raises(APIException) as refused:
        make_server(hetzner, "data-1", networks=[network])
    assert refused.value.code == "no_subnet_available"
    assert hetzner.servers.get_all() == []
    assert hetzner.primary_ips.get_all() == []


def test_a_host_name_that_dns_would_not_take_is_refused(hetzner: Client) -> None:
    for name in ("under_score", "-dash", "a" * 64, "two words"):
        with pytest.raises(APIException) as refused:
            make_server(hetzner, name)
        assert refused.value.details["fields"][0]["name"] == "name"


def test_the_wanted_private_address_is_given_once(hetzner: Client) -> None:
    network = hetzner.networks.create("site", "10.77.0.0/16", subnets=[SUBNET])
    first, second = make_server(hetzner, "a"), make_server(hetzner, "b")
    first.attach_to_network(network, ip="10.77.1.11").wait_until_finished()
    with pytest.raises(APIException) as refused:
        second.attach_to_network(network, ip="10.77.1.11")
    assert refused.value.code == "ip_not_available"
    with pytest.raises(APIException) as refused:
        first.attach_to_network(network)
    assert refused.value.code == "server_already_attached"
    second.attach_to_network(network, ip="10.77.1.12", alias_ips=["10.77.1.20"]).wait_until_finished()
    second.change_alias_ips(network, ["10.77.1.21"]).wait_until_finished()
    second.reload()
    assert second.private_net[0].alias_ips == ["10.77.1.21"]
    first.detach_from_network(network).wait_until_finished()
    first.reload()
    assert first.private_net == []


def test_power_actions_move_the_status(hetzner: Client) -> None:
    server = make_server(hetzner, "a", start_after_create=False)
    seen = [server.status]
    for act in (server.power_on, server.power_off, server.power_on, server.reboot, server.reset, server.shutdown):
        act().wait_until_finished()
        server.reload()
        seen.append(server.status)
    assert seen == ["off", "running", "off", "running", "running", "running", "off"]


def test_a_protected_server_is_not_deleted(hetzner: Client) -> None:
    server = make_server(hetzner, "a")
    server.change_protection(delete=True, rebuild=True).wait_until_finished()
    with pytest.raises(APIException) as refused:
        server.delete()
    assert refused.value.code == "protected"
    server.change_protection(delete=False, rebuild=False).wait_until_finished()
    server.delete().wait_until_finished()
    assert hetzner.servers.get_all() == []


def test_deleting_a_server_gives_back_what_it_held(hetzner: Client) -> None:
    volume = hetzner.volumes.create(10, "disk", location=Location(name="fsn1")).volume
    server = make_server(hetzner, "a", volumes=[volume])
    firewall = hetzner.firewalls.create("front").firewall
    firewall.apply_to_resources([FirewallResource(type="server", server=server)])
    server.delete().wait_until_finished()
    volume.reload()
    firewall.reload()
    assert volume.server is None
    assert firewall.applied_to == []
    assert hetzner.primary_ips.get_all() == []


class SlowMachines(NoMachines):
    """Machines whose boot waits until it is let go, or fails when told so."""

    def __init__(self) -> None:
        super().__init__()
        self.fail = ""
        self.release = threading.Event()

    async def boot(self, spec: MachineSpec) -> None:
        await asyncio.to_thread(self.release.wait)
        if self.fail:
            raise EmulatorError(self.fail)
        await super().boot(spec)


def test_an_action_is_running_until_its_machine_is_up_and_locks_the_server_meanwhile() -> None:
    machines = SlowMachines()
    with running_api(backend=machines) as api:
        hetzner = connect(api)
        answer = hetzner.servers.create("a", ServerType(name="cx23"), Image(name="debian-13"))
        answer.server.reload()
        assert hetzner.actions.get_by_id(answer.action.id).status == "running"
        assert (answer.server.status, answer.server.locked) == ("starting", True)
        with pytest.raises(APIException) as refused:
            answer.server.power_off()
        assert refused.value.code == "locked"
        machines.release.set()
        answer.action.wait_until_finished()
        answer.server.reload()
        assert (answer.server.status, answer.server.locked) == ("running", False)
        assert [a.command for a in answer.server.get_actions()] == ["create_server", "start_server"]


def test_a_machine_that_does_not_boot_fails_its_action_with_the_reason() -> None:
    machines = SlowMachines()
    machines.fail = "no init to be found"
    machines.release.set()
    with running_api(backend=machines) as api:
        hetzner = connect(api)
        answer = hetzner.servers.create("a", ServerType(name="cx23"), Image(name="debian-13"))
        with pytest.raises(ActionException) as failed:
            answer.action.wait_until_finished()
        assert "no init to be found" in failed.value.message
        answer.server.reload()
        assert answer.server.status == "off"


def test_a_machine_that_dies_is_seen_as_off_and_can_be_powered_on() -> None:
    machines = NoMachines()
    with running_api(backend=machines) as api:
        hetzner = connect(api)
        server = make_server(hetzner, "a")
        machines._running.clear()
        server.reload()
        assert server.status == "off"
        server.power_on().wait_until_finished()
        server.reload()
        assert server.status == "running"


def test_firewall_rules_are_checked_replaced_and_a_firewall_in_use_stays(hetzner: Client) -> None:
    ssh = FirewallRule(direction="in", protocol="tcp", port="22", source_ips=["10.0.0.0/8"])
    server = make_server(hetzner, "a")
    firewall = hetzner.firewalls.create(
        "front", rules=[ssh], resources=[FirewallResource(type="server", server=server)]
    ).firewall
    server.reload()
    assert [(f.firewall.id, f.status) for f in server.public_net.firewalls] == [(firewall.id, "applied")]
    for wrong in (
        FirewallRule(direction="in", protocol="tcp", source_ips=["10.0.0.0/8"]),
        FirewallRule(direction="in", protocol="icmp", port="22", source_ips=["10.0.0.0/8"]),
        FirewallRule(direction="in", protocol="tcp", port="70000", source_ips=["10.0.0.0/8"]),
        FirewallRule(direction="in", protocol="tcp", port="90-80", source_ips=["10.0.0.0/8"]),
        FirewallRule(direction="in", protocol="tcp", port="22", source_ips=["10.0.0.1/8"]),
        FirewallRule(direction="out", protocol="tcp", port="22", source_ips=["10.0.0.0/8"]),
    ):
        with pytest.raises(APIException) as refused:
            firewall.set_rules([wrong])
        assert refused.value.code == "invalid_input"
    with pytest.raises(APIException) as refused:
        firewall.delete()
    assert refused.value.code == "resource_in_use"
    firewall.remove_from_resources([FirewallResource(type="server", server=server)])
    assert firewall.delete()


def test_a_firewall_by_label_follows_the_labels(hetzner: Client) -> None:
    by_pool = FirewallResource(
        type="label_selector", label_selector=FirewallResourceLabelSelector(selector="pool=data")
    )
    hetzner.firewalls.create("data", resources=[by_pool])
    server = make_server(hetzner, "a")
    assert server.public_net.firewalls == []
    server = server.update(labels={"pool": "data"})
    assert len(server.public_net.firewalls) == 1


def test_an_own_primary_ip_outlives_its_server(hetzner: Client) -> None:
    address = hetzner.primary_ips.create(
        type="ipv4", name="front", location=Location(name="fsn1"), assignee_type="server", auto_delete=False
    ).primary_ip
    public = ServerCreatePublicNetwork(ipv4=address, enable_ipv6=False)
    server = make_server(hetzner, "a", public_net=public)
    assert server.public_net.ipv4.ip == address.ip
    assert server.public_net.ipv6 is None
    server.change_dns_ptr(address.ip, "a.example.net").wait_until_finished()
    server.delete().wait_until_finished()
    address.reload()
    assert address.assignee_id is None
    assert address.dns_ptr[0]["dns_ptr"] == "a.example.net"


def test_a_volume_grows_attaches_once_and_is_kept_while_attached(hetzner: Client) -> None:
    server = make_server(hetzner, "a")
    volume = hetzner.volumes.create(10, "disk", server=server, format="xfs").volume
    with pytest.raises(APIException) as refused:
        volume.delete()
    assert refused.value.code == "resource_in_use"
    with pytest.raises(APIException) as refused:
        volume.resize(5)
    assert refused.value.code == "invalid_input"
    volume.resize(20).wait_until_finished()
    volume.detach().wait_until_finished()
    volume.reload()
    assert (volume.size, volume.server) == (20, None)
    assert volume.delete()


def test_lists_come_in_pages_and_the_client_walks_them_all(hetzner: Client) -> None:
    made = [hetzner.placement_groups.create(f"g{i:02}", "spread").placement_group.id for i in range(53)]
    page = hetzner.placement_groups.get_list(page=2, per_page=20)
    assert (page.meta.pagination.last_page, page.meta.pagination.total_entries) == (3, 53)
    assert page.meta.pagination.next_page == 3
    assert [g.id for g in page.placement_groups] == made[20:40]
    assert [g.id for g in hetzner.placement_groups.get_all()] == made
    assert hetzner.placement_groups.get_list(page=9).placement_groups == []


def test_lists_are_filtered_and_sorted(hetzner: Client) -> None:
    for name, tier in (("b", "gold"), ("a", "gold"), ("c", "tin")):
        hetzner.placement_groups.create(name, "spread", labels={"tier": tier})
    assert hetzner.placement_groups.get_by_name("c").labels == {"tier": "tin"}
    found = hetzner.placement_groups.get_list(label_selector="tier=gold", sort=["name:asc"]).placement_groups
    assert [g.name for g in found] == ["a", "b"]
    with pytest.raises(APIException) as refused:
        hetzner.placement_groups.get_list(sort=["colour"])
    assert refused.value.code == "invalid_input"


def test_the_catalogue_is_complete_enough_to_choose_from(hetzner: Client) -> None:
    types = {t.name for t in hetzner.server_types.get_all()}
    assert {"cx23", "cx33", "cx43", "cpx22", "ccx23", "ccx33"} <= types
    assert hetzner.images.get_by_name_and_architecture("debian-13", "x86").os_version == "13"
    assert {loc.name for loc in hetzner.locations.get_all()} >= {"fsn1", "nbg1", "hel1", "ash", "sin"}
    with pytest.raises(APIException) as refused:
        hetzner.servers.create("a", ServerType(name="cx1"), Image(name="debian-13"))
    assert refused.value.code == "not_found"


def test_what_the_emulator_does_not_have_is_said_in_hetzners_form(api: Running) -> None:
    for path, said in (
        ("/v1/load_balancers", "no GET /v1/load_balancers"),
        ("/v1/servers/1", "server with ID '1' not"),
    ):
        with pytest.raises(EmulatorError, match=said):
            api.client.get(path)


def test_a_body_that_is_not_json_is_a_json_error(api: Running) -> None:
    request = urllib.request.Request(
        f"{api.endpoint}/networks", data=b"{", headers={"Authorization": f"Bearer {'t' * 64}"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400
    assert b'"json_error"' in refused.value.read()


def test_requests_are_counted_and_refused_when_used_up() -> None:
    with running_api(requests_per_hour=3) as api:
        request = urllib.request.Request(f"{api.endpoint}/locations", headers={"Authorization": f"Bearer {'t' * 64}"})
        left = []
        for _ in range(3):
            with urllib.request.urlopen(request) as answer:
                left.append(answer.headers["RateLimit-Remaining"])
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert left == ["2", "1", "0"]
        assert refused.value.code == 429
        assert refused.value.headers["RateLimit-Limit"] == "3"
        assert b'"rate_limit_exceeded"' in refused.value.read()
