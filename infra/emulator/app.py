"""The application: the API's families, and the emulator's own control routes, behind one guard."""

from aiohttp import web

from infra.emulator import fault_routes
from infra.emulator.cloud import Cloud
from infra.emulator.resources import (
    actions,
    catalog,
    firewalls,
    networks,
    placement_groups,
    primary_ips,
    servers,
    ssh_keys,
    volumes,
)
from infra.emulator.web import CLOUD, RateLimit, guard

# Hetzner gives 3600 an hour; a local client polls its actions every few milliseconds.
REQUESTS_PER_HOUR = 3_600_000
BODY_MOST = 1024 * 1024


def make_app(cloud: Cloud, requests_per_hour: int = REQUESTS_PER_HOUR) -> web.Application:
    app = web.Application(middlewares=[guard(RateLimit(requests_per_hour))], client_max_size=BODY_MOST)
    app[CLOUD] = cloud
    for family in (
        actions,
        catalog,
        firewalls,
        networks,
        placement_groups,
        primary_ips,
        servers,
        ssh_keys,
        volumes,
    ):
        app.add_routes(family.routes())
    app.add_routes(fault_routes.routes())
    return app
