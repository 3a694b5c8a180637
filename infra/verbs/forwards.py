"""Pages of an emulated site on loopback: the emulator listens on 127.0.0.1 and carries each connection inside."""

import json
import urllib.request

from infra.verbs.pulumi_state import emulator_settings
from infra.verbs.services import SERVICES
from infra.verbs.site import Site, SiteError


def address(site: Site, port: int, group: str) -> tuple[str, int]:
    """Where this machine reaches a service's port: on loopback for an emulated site, else on the private network."""
    emulator = emulator_settings(site.stack)
    if emulator:
        return "127.0.0.1", port + emulator.offset
    return site.host_of(group).private_ip, port


def publish(site: Site) -> None:
    """Tell the emulator which loopback ports lead to which service."""
    emulator = emulator_settings(site.stack)
    if emulator is None:
        raise SiteError(f"stack {site.stack} is not emulated: reach its pages over its private network")
    wanted = [
        {"listen": f"127.0.0.1:{port + emulator.offset}", "to": f"{site.host_of(s.group).private_ip}:{port}"}
        for s in SERVICES
        if site.hosts_of(s.group)
        for port in s.forwards
    ]
    request = urllib.request.Request(
        f"http://127.0.0.1:{emulator.port}/_emulator/forwards",
        data=json.dumps(wanted).encode(),
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
        reply.read()
