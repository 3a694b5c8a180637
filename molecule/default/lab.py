#!/usr/bin/env python3
"""The scenario's inventory, in the very form that a stack's has: its platforms, and what the lab said of them.

Before `molecule create` there are no hosts yet, and none after `molecule destroy`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

SCENARIO = Path(__file__).resolve().parent
ROOT = SCENARIO.parent.parent
STATE = ROOT / ".baretick" / "molecule"


def main() -> int:
    lab, secrets = STATE / "lab.json", STATE / "secrets.json"
    if "--host" in sys.argv or not (lab.exists() and secrets.exists()):
        print("{}")
        return 0
    print(json.dumps(inventory(json.loads(lab.read_text()), json.loads(secrets.read_text())), indent=2))
    return 0


def inventory(lab: dict[str, Any], secrets: dict[str, str]) -> dict[str, Any]:
    import yaml

    from inventory.build import build
    from inventory.outputs import Cpus, HostFacts, Outputs, SiteFacts, Ssh

    platforms = yaml.safe_load((SCENARIO / "molecule.yml").read_text())["platforms"]
    hosts = {
        p["name"]: HostFacts(
            pool=p["pool"],
            services=p["services"],
            public_ipv4=lab["hosts"][p["name"]]["public_ipv4"],
            private_ip=p["address"],
            host_key=lab["hosts"][p["name"]]["host_key"],
            cpus=Cpus(housekeeping=p["cpus_housekeeping"], isolated=p["cpus_isolated"]),
        )
        for p in platforms
    }
    site = SiteFacts(
        name="molecule",
        environment="emulated",
        network_cidr=lab["network"],
        mirror_url=lab["mirror_url"],
        # The lab wrote an ssh_config that says all of this.
        ssh=Ssh(user="root", identity_file=lab["identity_file"], proxy_command=None),
    )
    outputs = Outputs(stack="molecule", site=site, hosts=hosts, secrets=secrets)
    return build(outputs, Path(lab["ssh_config"]))


if __name__ == "__main__":
    python = ROOT / ".venv" / "bin" / "python"
    # Ansible starts this file with whatever python3 comes first on PATH; what it needs is in the clone's environment.
    if Path(sys.prefix) != ROOT / ".venv" and python.exists():
        os.execv(python, [str(python), str(Path(__file__).resolve()), *sys.argv[1:]])  # noqa: S606 - no shell is meant
    sys.path[0] = str(ROOT)
    sys.exit(main())
