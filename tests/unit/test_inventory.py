"""The inventory: groups, variables and ssh files from a stack's outputs, and what is said where there are none."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from paramiko import HostKeys, SSHConfig

from infra import access
from inventory import build, outputs, ssh

ROOT = Path(__file__).resolve().parents[2]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGEq0pPKQ1Dq0G0mGmE9lqv1mZ0bq3xGqk6T0nL1mQ9y"


def published(**site: Any) -> dict[str, Any]:
    def host(pool: str, number: int, *services: str) -> dict[str, Any]:
        return {
            "pool": pool,
            "services": list(services),
            "public_ipv4": f"198.51.100.{number}",
            "private_ip": f"10.77.1.{number}",
            "host_key": f"{KEY} {pool}-1",
            "cpus": {"housekeeping": "0", "isolated": "1" if pool == "latency" else ""},
        }

    return {
        "site": {
            "name": "local",
            "environment": "emulated",
            "network_cidr": "10.77.0.0/16",
            "mirror_url": "http://10.77.0.1:8480",
            "ssh": {
                "user": "root",
                "identity_file": ".baretick/local/id_ed25519",
                "proxy_command": "nsenter --net=/run/netns/bt-local socat - TCP:%h:%p",
            },
            **site,
        },
        "hosts": {
            "ops-1": host("ops", 31, "prometheus"),
            "data-1": host("data", 11, "kafka", "redis"),
            "latency-1": host("latency", 21, "engine"),
        },
        "secrets": {"redis_password": "s3cret"},
    }


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> outputs.Outputs:
    monkeypatch.setattr(outputs, "_raw", lambda stack: published())
    monkeypatch.setattr(ssh, "state_dir", lambda name: tmp_path / name)
    return outputs.read("local")


def test_hosts_are_grouped_by_pool_and_by_service(stack: outputs.Outputs) -> None:
    made = build.build(stack, Path("/x/ssh_config"))
    groups = {name: group["hosts"] for name, group in made.items() if name not in ("_meta", "all")}
    everyone = ["data-1", "latency-1", "ops-1"]
    assert groups == {
        "pool_data": ["data-1"],
        "pool_latency": ["latency-1"],
        "pool_ops": ["ops-1"],
        "kafka": ["data-1"],
        "redis": ["data-1"],
        "engine": ["latency-1"],
        "prometheus": ["ops-1"],
        "base": everyone,
        "node_exporter": everyone,
        "mirrored": everyone,
    }
    assert made["all"]["children"] == sorted(groups)


def test_a_host_carries_addresses_pool_services_and_cpus(stack: outputs.Outputs) -> None:
    host = build.build(stack, Path("/x/ssh_config"))["_meta"]["hostvars"]["latency-1"]
    assert host.pop("ansible_control_path").endswith("-latency-1")
    assert host == {
        "ansible_host": "latency-1",
        "private_ip": "10.77.1.21",
        "public_ipv4": "198.51.100.21",
        "pool": "latency",
        "services": ["engine"],
        "cpus_housekeeping": "0",
        "cpus_isolated": "1",
    }


def test_the_site_carries_its_names_secrets_and_ssh_config(stack: outputs.Outputs) -> None:
    site = build.build(stack, Path("/x/ssh_config"))["all"]["vars"]
    assert site["ansible_ssh_common_args"] == "-F /x/ssh_config"
    assert (site["stack"], site["site_name"], site["site_environment"]) == ("local", "local", "emulated")
    assert site["site_secrets"] == {"redis_password": "s3cret"}


def test_artefacts_come_from_the_mirror_where_there_is_one_and_from_upstream_where_not() -> None:
    mirrored, upstream = build.artefacts("http://m:8480"), build.artefacts(None)
    kafka = mirrored["kafka"]
    assert kafka["url"] == f"http://m:8480/kafka/{kafka['version']}/{kafka['file']}"
    assert len(kafka["sha256"]) == 64
    assert upstream["kafka"]["url"].startswith("https://archive.apache.org/")
    assert upstream["kafka"]["sha256"] != kafka["sha256"]


def test_a_site_without_a_mirror_leaves_the_roles_their_own_addresses(
    monkeypatch: pytest.MonkeyPatch, stack: outputs.Outputs
) -> None:
    monkeypatch.setattr(outputs, "_raw", lambda stack: published(mirror_url=None))
    assert "mirrored" not in build.build(outputs.read("local"), Path("/x/ssh_config"))


def test_what_the_mirror_serves_is_what_the_roles_are_told_to_install() -> None:
    told = yaml.safe_load((ROOT / "inventory/group_vars/mirrored/artefacts.yml").read_text())
    served = build.artefacts("http://m:8480")
    named = {name for value in told.values() for name in re.findall(r"artefacts\.(\w+)\.", value)}
    assert named and named <= set(served)
    for variable, value in told.items():
        role = variable.split("_")[0]
        defaults = yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text())
        assert variable in defaults, f"role {role} has no variable {variable}"
        assert value.startswith("{{ artefacts." + role + ".")


def test_ssh_takes_the_config_for_every_host(stack: outputs.Outputs) -> None:
    config = ssh.write(stack)
    said = subprocess.run(
        ["ssh", "-F", str(config), "-G", "latency-1"], capture_output=True, text=True, check=True
    ).stdout
    options = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    assert options["hostname"] == "198.51.100.21"
    assert options["hostkeyalias"] == "latency-1"
    assert options["stricthostkeychecking"] == "true"
    assert options["userknownhostsfile"] == str(config.with_name("known_hosts"))
    assert options["globalknownhostsfile"] == "/dev/null"
    assert options["user"] == "root"
    assert options["identityfile"] == str(ROOT / ".baretick/local/id_ed25519")
    assert options["proxycommand"].startswith("nsenter --net=/run/netns/bt-local ")
    assert len(options["controlpath"]) < 90


def test_host_keys_are_pinned_by_name_and_by_address(stack: outputs.Outputs) -> None:
    known = HostKeys(str(ssh.write(stack).with_name("known_hosts")))
    for name in ("data-1", "198.51.100.11"):
        assert known.lookup(name)["ssh-ed25519"].get_base64() == KEY.split()[1]


def test_a_client_without_openssh_reads_the_same_way_in(stack: outputs.Outputs) -> None:
    looked_up = SSHConfig.from_path(str(ssh.write(stack))).lookup("data-1")
    assert looked_up["hostname"] == "198.51.100.11"
    assert looked_up["proxycommand"] == "nsenter --net=/run/netns/bt-local socat - TCP:198.51.100.11:22"


def test_the_ssh_files_are_private_and_left_alone_when_nothing_changed(stack: outputs.Outputs) -> None:
    config = ssh.write(stack)
    files = [config, config.with_name("known_hosts")]
    before = [(f.stat().st_mode & 0o777, f.stat().st_ino, f.stat().st_mtime_ns) for f in files]
    ssh.write(stack)
    assert [(f.stat().st_mode & 0o777, f.stat().st_ino, f.stat().st_mtime_ns) for f in files] == before
    assert {mode for mode, _, _ in before} == {0o600}
    assert sorted(p.name for p in config.parent.iterdir()) == ["known_hosts", "ssh_config"]


def test_shared_connections_of_two_stacks_never_meet() -> None:
    assert access.control_path("a", "data-1") != access.control_path("b", "data-1")


def test_a_stack_without_hosts_is_told_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_raw", lambda stack: {})
    with pytest.raises(outputs.NoSite, match="run `pulumi up --stack local`"):
        outputs.read("local")


def test_outputs_of_another_version_are_told_with_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = published()
    del raw["hosts"]["data-1"]["host_key"]
    monkeypatch.setattr(outputs, "_raw", lambda stack: raw)
    with pytest.raises(outputs.NoSite, match="host_key"):
        outputs.read("local")


def test_secrets_do_not_show_when_outputs_are_printed(stack: outputs.Outputs) -> None:
    assert "s3cret" not in repr(stack)


def script(tmp_path: Path, output: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run the inventory script in a copy of the clone whose pulumi says `output`."""
    clone = tmp_path / "clone"
    (clone / ".venv/bin").mkdir(parents=True)
    for part in ("app", "infra", "inventory"):
        (clone / part).symlink_to(ROOT / part)
    pulumi = clone / ".venv/bin/pulumi"
    pulumi.write_text(f"#!/bin/sh\ncat <<'EOF'\n{output}\nEOF\necho 'error: no stack named x found' >&2\nexit {code}\n")
    pulumi.chmod(0o755)
    (clone / "stack.py").write_text((ROOT / "inventory/stack.py").read_text())
    return subprocess.run(
        [sys.executable, "-c", RUN_IN.format(clone=str(clone)), "--list"],
        capture_output=True,
        text=True,
        env={**os.environ, "BARETICK_STACK": "local"},
        check=False,
    )


RUN_IN = """
import sys
sys.path.insert(0, {clone!r})
import infra.paths, pathlib
infra.paths.repo_root = lambda: pathlib.Path({clone!r})
from inventory import stack
sys.exit(stack.main())
"""


def test_the_script_prints_an_inventory_that_ansible_can_read(tmp_path: Path) -> None:
    result = script(tmp_path, json.dumps(published()))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["_meta"]["hostvars"]["data-1"]["private_ip"] == "10.77.1.11"


def test_the_script_says_what_to_run_where_there_is_no_stack(tmp_path: Path) -> None:
    result = script(tmp_path, "", code=1)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == "no inventory: there is no stack local yet: run `pulumi up --stack local` (or `make up`)\n"
