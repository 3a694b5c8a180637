"""Which API a site is built on, and the token for it: shared by the program and by its dynamic providers."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.problems import Problem
from infra.robot.credentials import NoCredentials, robot_login

HETZNER_API = "https://api.hetzner.cloud/v1"
TOKEN_LENGTH = 64
TOKEN_KEY = "baretick:hcloudToken"  # noqa: S105 - the name of the setting, not its value
ENDPOINT_KEY = "baretick:endpoint"


@dataclass(frozen=True)
class Credentials:
    endpoint: str
    token: str = field(repr=False)
    # How often the provider asks for the progress of an action.
    poll_interval: str = "500ms"


def credentials(
    raw_site: object,
    get: Callable[[str], Any],
    *,
    is_secret: bool = True,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Credentials, list[Problem]]:
    """From the site as written (object or JSON), the stack's settings and the environment; and what is wrong there."""
    site = json.loads(raw_site) if isinstance(raw_site, str) else raw_site
    site = site if isinstance(site, dict) else {}
    if site.get("environment") == "emulated":
        emulator = site.get("emulator") or {}
        port = emulator.get("port", 8901) if isinstance(emulator, dict) else 8901
        # The emulator takes any token of the right length: this one is no secret, and says whose site asks.
        token = hashlib.sha256(f"emulated site {site.get('name')}".encode()).hexdigest()
        return Credentials(f"http://127.0.0.1:{port}/v1", token, "20ms"), []
    configured, from_environment = get(TOKEN_KEY), environ.get("HCLOUD_TOKEN", "")
    token = str(configured or from_environment)
    where = TOKEN_KEY if configured or not from_environment else "HCLOUD_TOKEN"
    endpoint = str(get(ENDPOINT_KEY) or environ.get("HCLOUD_ENDPOINT") or HETZNER_API).rstrip("/")
    return Credentials(endpoint, token), _token_problems(where, token, plain=bool(configured) and not is_secret)


def robot_problems(raw_site: object, environ: Mapping[str, str] = os.environ) -> list[Problem]:
    """What is wrong with the login of the Robot webservice, where the site has dedicated servers at Hetzner."""
    site = raw_site if isinstance(raw_site, dict) else {}
    pools = site.get("pools")
    named = any(isinstance(p, dict) and "dedicated" in p for p in pools.values()) if isinstance(pools, dict) else False
    if site.get("environment") == "emulated" or not named:
        return []
    try:
        robot_login(environ)
    except NoCredentials as error:
        return [
            Problem(
                "Robot", str(error).removeprefix("login: "), "Make a webservice user in Robot (Settings, Webservice)"
            )
        ]
    return []


def _token_problems(where: str, token: str, *, plain: bool) -> list[Problem]:
    set_it = f'Run "pulumi config set --secret {TOKEN_KEY}", or set HCLOUD_TOKEN in the environment'
    if not token:
        return [Problem(where, "the token of the Hetzner Cloud project is missing", set_it)]
    problems = []
    if len(token) != TOKEN_LENGTH:
        what = f"the token has {len(token)} characters, Hetzner's have {TOKEN_LENGTH}"
        problems.append(Problem(where, what, f"Copy it whole. {set_it}"))
    if plain:
        problems.append(Problem(where, "the token is kept in plain text", f"Revoke it and make a new one. {set_it}"))
    return problems
