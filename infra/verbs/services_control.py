"""Verbs that act on the running services: restart them in order, migrate and seed the warehouse, show credentials."""

import os
import subprocess

from infra.paths import repo_root
from infra.verbs import playbook
from infra.verbs.services import SERVICES
from infra.verbs.site import Site, SiteError, log_dir
from infra.verbs.steps import Steps


def restart(site: Site) -> int:
    """Restart every service, those that others need first, and wait for each to be active."""
    present = [s for s in SERVICES if site.hosts_of(s.group)]
    steps = Steps("restart", len(present), log_dir(site.stack))
    for service in present:

        def act(group: str = service.group, unit: str = service.unit) -> str:
            for host in site.hosts_of(group):
                result = site.ssh(host, f"systemctl restart {unit} && systemctl is-active {unit}", timeout=180)
                if result.returncode != 0:
                    raise SiteError(
                        f"{unit} on {host.name} did not restart: {result.stderr.strip()}; see make logs-{group}"
                    )
            return ", ".join(h.name for h in site.hosts_of(group))

        steps.call(f"restart {service.group}", act)
    steps.finish()
    return 0


def run_playbook(stack: str, *args: str) -> int:
    """Run site.yml with the given arguments, its output straight to the terminal."""
    env = {**os.environ, **playbook.environment(stack)}
    return subprocess.run(playbook.command(*args), cwd=repo_root(), env=env, check=False).returncode


def credentials(site: Site) -> int:
    """Print users and passwords of the site's services, for a person at a terminal."""
    users = {
        "clickhouse": ("baretick", "clickhouse_password"),
        "minio (root)": ("root", "minio_root_password"),
        "minio (app)": ("baretick", "minio_app_secret"),
        "redis": ("default", "redis_password"),
    }
    for service, (user, secret) in users.items():
        print(f"{service:14} user {user:10} password {site.secret(secret)}")
    return 0
