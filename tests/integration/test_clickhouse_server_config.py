"""The `server` flavour of the role clickhouse, rendered by Ansible: what the vendor's server would read.

No host here can install the vendor's packages, so this is as far as its proof goes; the role's README says so.
"""

import hashlib
import json
import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "clickhouse"
PASSWORD = "p@ss: 'word' {{ not }} \"a\" template"
RENDERED = {
    "config.yaml": ("drop-in.yaml.j2", {"value": "{{ clickhouse_config }}"}),
    "users.yaml": ("drop-in.yaml.j2", {"value": "{{ clickhouse_users_config }}"}),
    "unit.conf": ("server.conf.j2", {}),
    "preferences": ("preferences.j2", {}),
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("clickhouse")
    (folder / "password").write_text(PASSWORD)
    tasks = [
        {
            "ansible.builtin.template": {"src": str(ROLE / "templates" / source), "dest": str(folder / name)},
            "vars": {"item": item},
        }
        for name, (source, item) in RENDERED.items()
    ]
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROLE / "defaults" / "main.yml"), str(ROLE / "vars" / "main.yml")],
        "vars": {
            "clickhouse_flavor": "server",
            "private_ip": "10.77.1.11",
            "site_network_cidr": "10.77.0.0/16",
            "site_secrets": {"clickhouse_password": f"{{{{ lookup('ansible.builtin.file', '{folder}/password') }}}}"},
        },
        "tasks": tasks,
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"localhost": {}}}}))
    playbook = str(Path(sys.executable).parent / "ansible-playbook")
    command = [playbook, "-i", str(folder / "hosts.yml"), str(folder / "play.yml")]
    environment = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return {name: (folder / name).read_text() for name in RENDERED}


@pytest.fixture(scope="module")
def config(rendered: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(rendered["config.yaml"])
    return found


@pytest.fixture(scope="module")
def users(rendered: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(rendered["users.yaml"])["users"]
    return found


def test_it_listens_on_the_private_address_alone(config: dict[str, Any]) -> None:
    assert config["listen_host"] == "10.77.1.11"
    assert (config["http_port"], config["tcp_port"]) == (8123, 9000)


@pytest.mark.parametrize("port", ["mysql_port", "postgresql_port", "interserver_http_port"])
def test_protocols_that_nobody_declared_are_taken_away(config: dict[str, Any], port: str) -> None:
    assert config[port] == {"@remove": "remove"}


def test_the_user_default_is_taken_away(users: dict[str, Any]) -> None:
    assert users["default"] == {"@remove": "remove"}


def test_a_password_is_kept_as_its_hash_alone(rendered: dict[str, str], users: dict[str, Any]) -> None:
    assert users["baretick"]["password_sha256_hex"] == hashlib.sha256(PASSWORD.encode()).hexdigest()
    assert not [name for name, text in rendered.items() if PASSWORD in text]


def test_users_come_from_the_sites_network_alone(users: dict[str, Any]) -> None:
    assert users["baretick"]["networks"] == {"ip": ["10.77.0.0/16"]}


def test_logs_of_its_own_do_not_grow_for_ever(config: dict[str, Any]) -> None:
    logs = [name for name in config if name.endswith("_log") and name != "trace_log"]
    assert logs
    assert all(config[name]["ttl"] == "event_date + INTERVAL 14 DAY DELETE" for name in logs)


def test_the_unit_goes_by_one_name_for_both_flavours(rendered: dict[str, str]) -> None:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(rendered["unit.conf"])
    assert unit["Install"]["Alias"] == "clickhouse.service"
    assert unit["Service"]["Restart"] == "always"


def test_the_version_is_held(rendered: dict[str, str]) -> None:
    assert "Package: clickhouse-*\nPin: version 25.8.*\nPin-Priority: 1001\n" in rendered["preferences"]
