"""`make logs` and `make logs-<service>`: the journals of the site's services."""

import os
import sys

from infra.verbs.services import SERVICES, Service, by_name
from infra.verbs.site import Host, Site, SiteError


def all_services(site: Site, lines: int = 15) -> int:
    """The last lines of every service on every host."""
    for service in SERVICES:
        for host in site.hosts_of(service.group):
            print(f"== {service.group} on {host.name} ({service.unit})")
            sys.stdout.write(_journal(site, host, service, lines))
    return 0


def one_service(site: Site, name: str, *, follow: bool = False, lines: int = 200) -> int:
    """One service's log; with `follow` this process becomes the ssh that shows it."""
    try:
        service = by_name(name)
    except KeyError as e:
        raise SiteError(str(e.args[0])) from None
    hosts = site.hosts_of(service.group)
    if not hosts:
        raise SiteError(f"no host of stack {site.stack} runs {service.group}")
    if follow:
        argv = [*site.ssh_argv(hosts[0]), f"journalctl -u {service.unit} -n {lines} -f -o short-iso"]
        os.execvp(argv[0], argv)  # noqa: S606
    for host in hosts:
        if len(hosts) > 1:
            print(f"== {host.name}")
        sys.stdout.write(_journal(site, host, service, lines))
    return 0


def _journal(site: Site, host: Host, service: Service, lines: int) -> str:
    result = site.ssh(host, f"journalctl -u {service.unit} -n {lines} --no-pager -o short-iso")
    return result.stdout if result.returncode == 0 else f"{host.name}: {result.stderr.strip()}\n"
