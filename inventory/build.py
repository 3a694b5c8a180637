"""The inventory as data: groups by pool and by service, what each host is, and what holds for the whole site."""

from collections import defaultdict
from pathlib import Path
from typing import Any

from infra.access import control_path
from infra.mirror.manifest import load
from infra.site import COMMON_SERVICES
from inventory.outputs import HostFacts, Outputs


def build(outputs: Outputs, ssh_config: Path) -> dict[str, Any]:
    """In the form that Ansible takes from an inventory script."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, host in outputs.hosts.items():
        groups[f"pool_{host.pool}"].append(name)
        for service in (*COMMON_SERVICES, *host.services):
            groups[service].append(name)
        if outputs.site.mirror_url:
            groups["mirrored"].append(name)
    return {
        "_meta": {"hostvars": {name: host_vars(outputs.stack, name, host) for name, host in outputs.hosts.items()}},
        "all": {"children": sorted(groups), "vars": site_vars(outputs, ssh_config)},
        **{name: {"hosts": hosts} for name, hosts in sorted(groups.items())},
    }


def host_vars(stack: str, name: str, host: HostFacts) -> dict[str, Any]:
    return {
        "ansible_host": name,
        # The same connection as plain ssh has; without this Ansible names its own by host alone, for every stack.
        "ansible_control_path": control_path(stack, name),
        "private_ip": host.private_ip,
        "public_ipv4": host.public_ipv4,
        "pool": host.pool,
        "services": host.services,
        "cpus_housekeeping": host.cpus.housekeeping,
        "cpus_isolated": host.cpus.isolated,
        **({"server_number": host.server_number} if host.server_number else {}),
    }


def site_vars(outputs: Outputs, ssh_config: Path) -> dict[str, Any]:
    site = outputs.site
    return {
        "ansible_user": site.ssh.user,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": f"-F {ssh_config}" if " " not in str(ssh_config) else f"-F '{ssh_config}'",
        "stack": outputs.stack,
        "site_name": site.name,
        "site_environment": site.environment,
        "site_network_cidr": site.network_cidr,
        "site_secrets": outputs.secrets,
        "mirror_url": site.mirror_url,
        "artefacts": artefacts(site.mirror_url),
    }


def artefacts(mirror_url: str | None) -> dict[str, dict[str, Any]]:
    """Every artefact that is one file, by name: as the site's mirror serves it, or as upstream has it.

    Upstream's file is not always the one that the mirror keeps: its checksum is None where upstream names none.
    """
    return {
        a.name: {
            "version": a.version,
            "file": a.file,
            "url": f"{mirror_url}/{a.name}/{a.version}/{a.file}" if mirror_url else a.upstream,
            "sha256": a.sha256 if mirror_url else a.upstream_sha256,
        }
        for a in load()
        if a.stored and a.file
    }
