"""The Pulumi program against mocks: what it asks of Hetzner, and the rules that every site keeps."""

import asyncio
import json
import runpy
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "t" * 64


class Recorder(pulumi.runtime.Mocks):
    """Keeps what the program declares; gives every resource an id, every server an address."""

    def __init__(self) -> None:
        self.made: list[pulumi.runtime.MockResourceArgs] = []

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.made.append(args)
        outputs = dict(args.inputs)
        if args.typ == "hcloud:index/server:Server":
            outputs["ipv4Address"] = f"198.51.100.{len(self.made)}"
        if args.typ.endswith(":HostKey"):
            outputs |= {"private_key": "PRIVATE KEY OF " + args.name, "public_key": "ssh-ed25519 AAAA " + args.name}
        if args.typ.endswith(":VSwitch"):
            outputs["vswitch_id"] = 4321.0
        if args.typ.endswith(":RandomSecret"):
            outputs["value"] = "generated"
        return str(1000 + len(self.made)), outputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        raise AssertionError(f"the program looked something up: {args.token}")

    def of(self, kind: str) -> list[pulumi.runtime.MockResourceArgs]:
        return [m for m in self.made if m.typ.split(":")[-1] == kind]


def stack_config(stack: str, change: Callable[[dict[str, Any]], object] | None = None) -> dict[str, str]:
    raw = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]["baretick:site"]
    if change:
        change(raw)
    return {"baretick:site": json.dumps(raw)}


def run(state: Path, stack: str, config: dict[str, str], secret: tuple[str, ...] = ()) -> Recorder:
    """Run the program for a stack's settings; what it would start on this machine is left out."""
    recorder = Recorder()
    # Pulumi's test decorator takes the thread's current event loop.
    asyncio.set_event_loop(asyncio.new_event_loop())
    pulumi.runtime.set_mocks(recorder, project="baretick", stack=stack)
    pulumi.runtime.set_all_config(config, list(secret))

    @pulumi.runtime.test
    def program() -> None:
        runpy.run_path(str(ROOT / "infra" / "__main__.py"), run_name="__main__")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infra.emulator.control.ensure_running", lambda *_, **__: None)
        patch.setattr("infra.access.state_dir", lambda name: state / name)
        patch.setattr("infra.access.repo_root", lambda: state)
        patch.delenv("HCLOUD_TOKEN", raising=False)
        patch.delenv("HCLOUD_ENDPOINT", raising=False)
        program()
    return recorder


def plain(secret: Any) -> str:
    """The value of an input that the program handed over as a secret."""
    assert isinstance(secret, dict), "not handed over as a secret"
    return str(secret["value"])


@pytest.fixture(scope="module", params=["local", "prod"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    config = stack_config(request.param)
    if request.param == "prod":
        config["baretick:hcloudToken"] = TOKEN
    return run(tmp_path_factory.mktemp("state"), request.param, config, ("baretick:hcloudToken",))


def test_every_host_of_the_site_becomes_a_server_with_key_network_and_liveness(made: Recorder) -> None:
    names = {s.inputs["name"] for s in made.of("Server")}
    assert len(names) >= 3
    assert {k.inputs["host"] for k in made.of("HostKey")} == names
    assert {n.name for n in made.of("ServerNetwork")} == names
    assert {alive.inputs["name"] for alive in made.of("Liveness")} == names


def test_servers_stand_in_a_location_and_in_the_spread_group_of_their_pool(made: Recorder) -> None:
    groups = {g.name: g for g in made.of("PlacementGroup")}
    assert {g.inputs["type"] for g in groups.values()} == {"spread"}
    assert len({s.inputs["placementGroupId"] for s in made.of("Server")}) == len(groups)
    for server in made.of("Server"):
        assert server.inputs["location"] in ("fsn1", "hel1")
        assert "datacenter" not in server.inputs


def test_protection_against_deletion_and_rebuild_are_equal(made: Recorder) -> None:
    assert all(s.inputs["deleteProtection"] == s.inputs["rebuildProtection"] for s in made.of("Server"))


def test_what_can_be_labelled_says_whose_it_is(made: Recorder) -> None:
    for kind in ("Server", "Network", "Firewall", "SshKey", "PlacementGroup"):
        assert made.of(kind)
        for resource in made.of(kind):
            assert resource.inputs["labels"]["managed-by"] == "pulumi"
            assert resource.inputs["labels"]["site"]


def test_the_firewall_lets_only_operators_in_and_says_nothing_of_the_way_out(made: Recorder) -> None:
    (firewall,) = made.of("Firewall")
    rules = firewall.inputs["rules"]
    assert any(r.get("port") == "22" for r in rules)
    for rule in rules:
        assert rule["direction"] == "in"
        assert all(IPv4Network(source).prefixlen > 0 for source in rule["sourceIps"])
    assert all(len(s.inputs["firewallIds"]) == 1 for s in made.of("Server"))


def test_the_subnet_is_a_cloud_subnet_of_the_network_and_every_address_lies_in_it(made: Recorder) -> None:
    (network,), (subnet,) = made.of("Network"), made.of("NetworkSubnet")
    assert subnet.inputs["type"] == "cloud" and subnet.inputs["networkZone"] == "eu-central"
    whole = IPv4Network(subnet.inputs["ipRange"])
    assert whole.subnet_of(IPv4Network(network.inputs["ipRange"]))
    addresses = [n.inputs["ip"] for n in made.of("ServerNetwork")]
    assert len(set(addresses)) == len(addresses)
    assert all(IPv4Network(a).subnet_of(whole) for a in addresses)


def test_a_server_is_born_with_its_own_pinned_host_key_and_without_passwords(made: Recorder) -> None:
    for server in made.of("Server"):
        head, _, body = server.inputs["userData"].partition("\n")
        data = yaml.safe_load(body)
        assert head == "#cloud-config"
        assert data["hostname"] == server.inputs["name"]
        assert data["ssh_keys"]["ed25519_private"] == f"PRIVATE KEY OF {server.inputs['name']}-key"
        assert data["ssh_pwauth"] is False
        assert "password" not in body


def test_the_emulated_site_talks_to_its_emulator_through_its_namespace(tmp_path: Path) -> None:
    made = run(tmp_path, "local", stack_config("local"))
    (provider,) = made.of("hcloud")
    assert provider.inputs["endpoint"] == "http://127.0.0.1:8901/v1"
    assert len(plain(provider.inputs["token"])) == 64
    assert all("--net=/run/netns/bt-local " in alive.inputs["proxy_command"] for alive in made.of("Liveness"))


def test_the_emulated_site_makes_its_operator_key_once(tmp_path: Path) -> None:
    first, second = (
        run(tmp_path, "local", stack_config("local")).of("SshKey")[0].inputs["publicKey"] for _ in range(2)
    )
    assert first == second == (tmp_path / "local" / "id_ed25519.pub").read_text().strip()
    assert (tmp_path / "local" / "id_ed25519").stat().st_mode & 0o777 == 0o600


def test_the_real_site_talks_to_hetzner_with_the_given_token(tmp_path: Path) -> None:
    made = run(tmp_path, "prod", stack_config("prod") | {"baretick:hcloudToken": TOKEN}, ("baretick:hcloudToken",))
    (provider,) = made.of("hcloud")
    assert provider.inputs["endpoint"] == "https://api.hetzner.cloud/v1"
    assert plain(provider.inputs["token"]) == TOKEN
    assert all("proxy_command" not in alive.inputs for alive in made.of("Liveness"))


@pytest.mark.parametrize(
    ("config", "secret", "what"),
    [
        pytest.param({}, (), "the token of the Hetzner Cloud project is missing", id="missing"),
        pytest.param({"baretick:hcloudToken": "t" * 63}, ("baretick:hcloudToken",), "has 63 characters", id="short"),
        pytest.param({"baretick:hcloudToken": TOKEN}, (), "is kept in plain text", id="in plain text"),
    ],
)
def test_a_faulty_token_ends_the_program_before_anything_is_declared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, str],
    secret: tuple[str, ...],
    what: str,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "error", said.append)
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, "prod", stack_config("prod") | config, secret)
    assert ended.value.code == 32
    assert len(said) == 1 and what in said[0] and "pulumi config set --secret baretick:hcloudToken" in said[0]
    assert TOKEN not in said[0]


def test_faults_of_site_and_token_are_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "error", said.append)
    with pytest.raises(SystemExit):
        run(tmp_path, "prod", stack_config("prod", lambda raw: raw.update(locaton=raw.pop("location"))))
    assert "token" in said[0] and 'Write "location"' in said[0]
