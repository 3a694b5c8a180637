"""A server as the API shows it."""

from typing import Any

from infra.emulator.catalog import IMAGES, LOCATIONS, SERVER_TYPES, datacenter_json
from infra.emulator.cloud import Cloud
from infra.emulator.model import Server
from infra.emulator.resources.firewalls import applied
from infra.emulator.resources.placement_groups import render as render_group

TYPES_BY_NAME = {kind.name: kind for kind in SERVER_TYPES.values()}
PLACES_BY_NAME = {place.name: place for place in LOCATIONS.values()}


def _ipv4(cloud: Cloud, server: Server) -> dict[str, Any] | None:
    if server.ipv4 is None:
        return None
    address = cloud.db.primary_ips[server.ipv4]
    pointer = address.dns_ptr[0]["dns_ptr"] if address.dns_ptr else None
    return {"id": address.id, "ip": address.ip, "blocked": address.blocked, "dns_ptr": pointer}


def _ipv6(cloud: Cloud, server: Server) -> dict[str, Any] | None:
    if server.ipv6 is None:
        return None
    address = cloud.db.primary_ips[server.ipv6]
    return {"id": address.id, "ip": address.ip, "blocked": address.blocked, "dns_ptr": address.dns_ptr}


def render(cloud: Cloud, server: Server) -> dict[str, Any]:
    kind, place = TYPES_BY_NAME[server.server_type], PLACES_BY_NAME[server.location]
    group = cloud.db.placement_groups.get(server.placement_group) if server.placement_group else None
    fronts = [f.id for f in cloud.db.firewalls.values() if server.id in applied(cloud, f)]
    return {
        "id": server.id,
        "name": server.name,
        "status": cloud.observe(server),
        "created": server.created,
        "public_net": {
            "ipv4": _ipv4(cloud, server),
            "ipv6": _ipv6(cloud, server),
            "floating_ips": [],
            "firewalls": [{"id": i, "status": "applied"} for i in fronts],
        },
        "private_net": [net.model_dump() for net in server.private_net],
        "server_type": kind.json(),
        "location": place.json(),
        "datacenter": datacenter_json(place),
        "image": IMAGES[server.image].json(),
        "iso": None,
        "rescue_enabled": False,
        "locked": cloud.actions.running("server", server.id) is not None,
        "backup_window": None,
        "outgoing_traffic": 0,
        "ingoing_traffic": 0,
        "included_traffic": 21990232555520,
        "primary_disk_size": kind.disk,
        "protection": server.protection.model_dump(),
        "labels": server.labels,
        "volumes": [v.id for v in cloud.db.volumes.values() if v.server == server.id],
        "load_balancers": [],
        "placement_group": render_group(cloud, group) if group else None,
    }
