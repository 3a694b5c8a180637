"""`make status`: one look at the site: hosts, services with version and page, rows and rates, the session, latency."""

import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from infra.verbs import flow, forwards, probe
from infra.verbs.services import SERVICES
from infra.verbs.site import Host, Site, SiteError

RATE_WINDOW_S = 3.0
UNREACHABLE = "unreachable"
WIDTH = 140


def show(site: Site) -> int:
    """Print the tables; the exit code is 1 when a host or service is not as it should be."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    answers = site.ssh_all({host: _questions(host) for host in site.hosts}, timeout=30)
    facts = {host: _parse(answer) for host, answer in answers.items()}
    healthy = _hosts(console, site, facts)
    healthy &= _services(console, site, facts)
    try:
        _data(console, site)
    except SiteError as e:
        console.print(f"[red]{e}[/red]")
        healthy = False
    return 0 if healthy else 1


def _questions(host: Host) -> str:
    """A script that answers `key<TAB>value` lines: uptime, load, tuning, and state and version of each service."""
    lines = [
        "printf 'uptime\\t%s\\n' \"$(cut -d' ' -f1 /proc/uptime)\"",
        "printf 'system\\t%s\\n' \"$(systemctl is-system-running)\"",
        "printf 'tuning\\t%s\\n' \"$(tr -d '\\n\\t' < /etc/baretick/host.json 2>/dev/null)\"",
    ]
    for service in SERVICES:
        if service.group in host.services or service.group == "node_exporter":
            unit = service.unit
            lines.append(f"printf 'state {service.group}\\t%s\\n' \"$(systemctl is-active {unit})\"")
            lines.append(f"printf 'version {service.group}\\t%s\\n' \"$({service.version} 2>/dev/null)\"")
    return "\n".join(lines) + "\n"


def _parse(answer: str | None) -> dict[str, str] | None:
    if answer is None:
        return None
    return dict(line.split("\t", 1) for line in answer.splitlines() if "\t" in line)


def _hosts(console: Console, site: Site, facts: dict[Host, dict[str, str] | None]) -> bool:
    table = Table(title=f"{site.vars['site_name']}: hosts", title_justify="left")
    for column in ("host", "pool", "public", "private", "state", "tuning"):
        table.add_column(column)
    healthy = True
    for host in site.hosts:
        fact = facts[host]
        state = UNREACHABLE if fact is None else fact.get("system", "unknown")
        healthy &= state == "running"
        table.add_row(
            host.name,
            host.pool,
            host.public_ipv4,
            host.private_ip,
            f"[green]{state}[/green]" if state == "running" else f"[red]{state}[/red]",
            _tuning(fact),
        )
    console.print(table)
    return healthy


def _tuning(fact: dict[str, str] | None) -> str:
    """How many rows of the tuning plan hold, from the host's own record of it."""
    text = (fact or {}).get("tuning", "")
    if not text:
        return "not tuned"
    record: dict[str, Any] = json.loads(text)
    applied, not_applicable = record.get("applied", []), record.get("not_applicable", [])
    return f"{len(applied)} applied, {len(not_applicable)} not applicable"


def _services(console: Console, site: Site, facts: dict[Host, dict[str, str] | None]) -> bool:
    table = Table(title="services", title_justify="left")
    for column in ("service", "host", "state", "version", "address", "page here"):
        table.add_column(column, overflow="fold")
    healthy = True
    for service in SERVICES:
        for host in site.hosts_of(service.group):
            fact = facts[host] or {}
            state = fact.get(f"state {service.group}", UNREACHABLE)
            healthy &= state == "active"
            page = ""
            if service.page and service.forwards:
                name, port = forwards.address(site, service.forwards[0], service.group)
                page = f"http://{name}:{port}{service.page}"
            table.add_row(
                service.group,
                host.name,
                f"[green]{state}[/green]" if state == "active" else f"[red]{state}[/red]",
                fact.get(f"version {service.group}", ""),
                f"{host.private_ip}:{service.port}",
                page,
            )
    console.print(table)
    return healthy


def _data(console: Console, site: Site) -> None:
    before = flow.row_counts(site)
    time.sleep(RATE_WINDOW_S)
    after = flow.row_counts(site)
    table = Table(title="warehouse", title_justify="left")
    for column in ("table", "rows", "rows/s now"):
        table.add_column(column, justify="left" if column == "table" else "right")
    for name, rows in after.items():
        table.add_row(name, f"{rows:,}", f"{(rows - before[name]) / RATE_WINDOW_S:,.0f}")
    console.print(table)
    for venue, session in probe.session(site).get("venues", {}).items():
        console.print(
            f"session {venue}: {session['source']}, {session['state']}, "
            f"{session['sent']:,} of {session['total']:,} frames ({session['session']})"
        )
    console.print(_latency(site))


def _latency(site: Site) -> str:
    """Tick-to-order latency from the engine's histogram: upper bounds of the buckets that hold P50 and P99."""
    buckets = sorted(
        (float(labels["le"]), count)
        for name, labels, count in probe.metrics(site, "engine", 8080)
        if name == "baretick_tick_to_order_seconds_bucket"
    )
    if not buckets or buckets[-1][1] == 0:
        return "engine latency, tick to order: no orders yet"
    total = buckets[-1][1]

    def bound(quantile: float) -> str:
        return f"{next(le for le, count in buckets if count >= quantile * total) * 1e6:,.0f} us"

    return f"engine latency, tick to order: P50 <= {bound(0.5)}, P99 <= {bound(0.99)} over {total:,.0f} orders"
