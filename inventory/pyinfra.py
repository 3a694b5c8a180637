"""pyinfra's inventory, with what Ansible sees of the hosts: `pyinfra inventory/pyinfra.py exec -- uptime`."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from inventory import ssh
from inventory.build import build
from inventory.outputs import read, stack_name

type _Hosts = list[tuple[str, dict[str, Any]]]


def _groups() -> dict[str, _Hosts]:
    outputs = read(stack_name())
    config = ssh.write(outputs)
    inventory = build(outputs, config)
    connection = {
        "ssh_user": outputs.site.ssh.user,
        "ssh_config_file": str(config),
        "ssh_known_hosts_file": str(config.with_name("known_hosts")),
        "ssh_strict_host_key_checking": "yes",
        "ssh_allow_agent": False,
        "ssh_look_for_keys": False,
    }
    site = {key: value for key, value in inventory["all"]["vars"].items() if not key.startswith("ansible_")}
    data = {
        name: {**site, **{k: v for k, v in own.items() if not k.startswith("ansible_")}, **connection}
        for name, own in inventory["_meta"]["hostvars"].items()
    }
    return {group: [(name, data[name]) for name in inventory[group]["hosts"]] for group in inventory["all"]["children"]}


# pyinfra takes every list of this module for a group, named as the list is.
globals().update(_groups())
