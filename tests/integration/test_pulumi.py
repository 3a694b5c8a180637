"""`pulumi` as a person uses it, on a site of its own: from nothing to hosts that answer, and back to nothing.

The project is a copy in a temporary folder with its own state, stack, emulator and port: a site that somebody runs from
this clone is left alone.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pulumi_rig import BIN, ROOT, Project, changes

from infra.emulator import control
from infra.emulator.client import Client
from infra.paths import state_dir

STACK = "itpulumi"
PORT = 8941
HOSTS = ["data-1", "latency-1", "ops-1"]
TOKEN = "x" * 64

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]


def local_site() -> str:
    text = (ROOT / "Pulumi.local.yaml").read_text()
    text = re.sub(r"^encryptionsalt:.*\n", "", text, flags=re.M)
    return text.replace("name: local", f"name: {STACK}").replace("port: 8901", f"port: {PORT}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    made = Project(tmp_path_factory.mktemp("project"), STACK)
    made.describe(STACK, local_site())
    yield made
    assert control.stop(STACK, wipe=True) == []
    shutil.rmtree(state_dir(STACK))


@pytest.fixture(scope="module")
def site(project: Project) -> Iterator[Project]:
    assert changes(project.up())["created"] > 20
    yield project
    # Only what the last test, which destroys the site, did not reach.
    if servers():
        project.pulumi("destroy", "--yes", "--skip-preview", "--stack", STACK)


def servers() -> dict[str, dict[str, object]]:
    return {s["name"]: s for s in Client(PORT).every("servers")}


def test_every_host_answers_on_ssh_with_the_key_that_was_pinned_before_it_was_born(site: Project) -> None:
    graph = site.run(str(BIN / "ansible-inventory"), "--graph")
    assert graph.returncode == 0, graph.stderr
    assert "@pool_data:" in graph.stdout and "@kafka:" in graph.stdout
    pinned = dict(
        line.split(",", 1) for line in (state_dir(STACK) / "known_hosts").read_text().splitlines() if line.strip()
    )
    for host in HOSTS:
        answer = site.ssh(host, "hostname; cut -d' ' -f1,2 /etc/ssh/ssh_host_*_key.pub", "-o", "ControlPath=none")
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.split("\n") == [host, " ".join(pinned[host].split()[1:3]), ""]


def test_a_host_with_another_key_than_the_pinned_one_is_refused(site: Project, tmp_path: Path) -> None:
    wrong = tmp_path / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    wrong.write_text("data-1 " + (tmp_path / "other.pub").read_text())
    answer = site.ssh("data-1", "true", "-o", f"UserKnownHostsFile={wrong}", "-o", "ControlPath=none")
    assert answer.returncode == 255 and "Host key verification failed" in answer.stderr


def test_hosts_have_their_private_addresses_and_reach_each_other(site: Project) -> None:
    for host, address in zip(HOSTS, ("10.77.1.11", "10.77.1.21", "10.77.1.31"), strict=True):
        shown = site.ssh(host, "ip -4 -o address show enp7s0").stdout
        assert f" {address}/16 " in shown
    assert site.ssh("ops-1", "bash -c 'exec 3<>/dev/tcp/10.77.1.11/22 && head -c 4 <&3'").stdout == "SSH-"


def test_pyinfra_sees_the_same_hosts(site: Project) -> None:
    result = site.run(str(BIN / "pyinfra"), "-y", "inventory/pyinfra.py", "exec", "--", "hostname")
    assert result.returncode == 0, result.stderr
    assert all(f"[{host}]" in result.stdout + result.stderr for host in HOSTS)


def test_the_state_keeps_no_secret_in_plain_text(site: Project) -> None:
    outputs = json.loads(site.pulumi("stack", "output", "--json", "--show-secrets", "--stack", STACK))
    state = "".join(p.read_text() for p in (site.folder / "state").rglob("*.json*"))
    assert outputs["hosts"]["data-1"]["host_key"].split()[1] in state
    assert len(outputs["secrets"]) == 4
    assert not [name for name, value in outputs["secrets"].items() if value in state]
    assert "OPENSSH PRIVATE KEY" not in state


def test_a_second_up_and_a_refresh_change_nothing(site: Project) -> None:
    assert list(changes(site.up())) == ["unchanged"]
    assert list(changes(site.pulumi("refresh", "--yes", "--skip-preview", "--stack", STACK))) == ["unchanged"]


def test_a_host_killed_behind_pulumis_back_is_noticed_and_restored(site: Project) -> None:
    site.ssh("ops-1", "touch /root/still-here && sync")
    Client(PORT).call("POST", "/_emulator/machines/ops-1/kill")
    assert servers()["ops-1"]["status"] == "off"
    assert changes(site.up()) == {"updated": 1, "unchanged": 30}
    assert servers()["ops-1"]["status"] == "running"
    assert site.ssh("ops-1", "ls /root/still-here").stdout == "/root/still-here\n"


def test_a_host_deleted_behind_pulumis_back_is_told_and_made_anew_after_a_refresh(site: Project) -> None:
    client = Client(PORT)
    client.settle(client.call("DELETE", f"/v1/servers/{servers()['ops-1']['id']}")["action"])
    assert "was deleted behind Pulumi's back: run `pulumi up --refresh`" in site.up(ok=False)
    site.up("--refresh")
    assert site.ssh("ops-1", "hostname").stdout == "ops-1\n"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("housekeeping: 0, isolated: 1", "housekeeping: 0-1, isolated: 1", "CPU 1 is both housekeeping"),
        ("10.77.1.31", "10.99.1.31", "address 10.99.1.31 lies outside the subnet 10.77.1.0/24"),
        ("ops-1: 10.77.1.31", "ops-1: 10.77.1.31\n          ops-1: 10.77.1.32", '"ops-1" already defined'),
        ("url: http", "ulr: http", 'unknown key "ulr". Write "url".'),
    ],
)
def test_a_faulty_site_is_told_in_a_paragraph_and_changes_nothing(
    site: Project, before: str, after: str, told: str
) -> None:
    file = site.folder / f"Pulumi.{STACK}.yaml"
    good, had = file.read_text(), servers()
    assert good.count(before) == 1
    try:
        file.write_text(good.replace(before, after))
        shown = site.up(ok=False)
    finally:
        file.write_text(good)
    assert told in shown
    assert "Traceback" not in shown
    assert servers() == had


def test_the_production_stack_previews_against_any_endpoint_with_its_token(site: Project) -> None:
    site.describe("prod", re.sub(r"^encryptionsalt:.*\n", "", (ROOT / "Pulumi.prod.yaml").read_text(), flags=re.M))
    endpoint = f"http://127.0.0.1:{PORT}/v1"
    site.pulumi("config", "set", "baretick:endpoint", endpoint, "--stack", "prod")
    assert "the token of the Hetzner Cloud project is missing" in site.pulumi("preview", "--stack", "prod", ok=False)
    short = site.pulumi("preview", "--stack", "prod", ok=False, HCLOUD_TOKEN="x" * 10)
    assert "the token has 10 characters, Hetzner's have 64" in short
    site.pulumi("config", "set", "--secret", "baretick:hcloudToken", TOKEN, "--stack", "prod")
    assert TOKEN not in (site.folder / "Pulumi.prod.yaml").read_text()
    shown = site.pulumi("preview", "--stack", "prod")
    assert len(re.findall(r"hcloud:index:Server \S+ create", shown)) == 5
    assert TOKEN not in shown


def test_destroying_the_site_leaves_nothing_at_hetzner(site: Project) -> None:
    site.pulumi("destroy", "--yes", "--skip-preview", "--stack", STACK)
    client = Client(PORT)
    for family in ("servers", "networks", "firewalls", "placement_groups", "ssh_keys", "primary_ips"):
        assert client.every(family) == [], family
    assert client.get("/_emulator/machines")["machines"] == []
    nothing = site.run(str(BIN / "ansible-inventory"), "--graph")
    assert nothing.returncode != 0
    assert f"stack {STACK} has no hosts: run `pulumi up --stack {STACK}`" in nothing.stderr
