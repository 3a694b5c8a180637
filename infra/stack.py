"""The edge between Pulumi and the site: its settings read and checked before any resource is declared."""

import sys
from typing import TYPE_CHECKING, NoReturn

import pulumi

from infra.credentials import TOKEN_KEY, Credentials, credentials, robot_problems
from infra.paths import state_dir
from infra.problems import InvalidSite
from infra.site import Site, parse

if TYPE_CHECKING:
    from infra.emulator.client import Client

# The status by which a program tells Pulumi that the person has been told why it ended.
ALREADY_TOLD = 32


def configured(stack: str) -> tuple[Site, Credentials]:
    """The site of this stack and its API; ends the program with every problem said where something is wrong."""
    config = pulumi.Config("baretick")
    raw = config.get_object("site")
    found, problems = credentials(raw, _get, is_secret=pulumi.runtime.is_config_secret(TOKEN_KEY))
    problems += robot_problems(raw)
    try:
        return parse(raw, f"Pulumi.{stack}.yaml", tuple(problems)), found
    except InvalidSite as e:
        end(str(e))


def _get(key: str) -> str | None:
    namespace, _, name = key.partition(":")
    return pulumi.Config(namespace).get(name)


def prepare_ground(site: Site, stack: str) -> None:
    """An emulated site needs its emulator before the first call of its API."""
    if not site.emulated:
        return
    from infra.emulator.control import ensure_running
    from infra.emulator.errors import EmulatorError

    try:
        client = ensure_running(stack, site.emulator.port, state_dir(stack), robot_port=site.emulator.robot)
        _rack(site, client)
    except EmulatorError as e:
        end(str(e))


def _rack(site: Site, client: "Client") -> None:
    """An emulated account has the dedicated servers that the site names, as if they had been ordered."""
    wanted = {host.said.server for host in site.hosts if host.dedicated}
    if not wanted:
        return
    have = {server["number"] for server in client.get("/_emulator/dedicated")["dedicated"]}
    for number in sorted(n for n in wanted if n is not None and n not in have):
        client.call("POST", "/_emulator/dedicated", {"number": number})


def end(message: str) -> NoReturn:
    """End the program with a message of its own; Pulumi adds neither a traceback nor a line."""
    pulumi.log.error(message)
    sys.exit(ALREADY_TOLD)
