"""pyinfra over the site's inventory: run the deploy on every host and say what changed, or read back for the audit."""

import base64
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, override

from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.deploy import add_deploy
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State
from pyinfra.context import ctx_host, ctx_state

from infra.tuning import apply, audit, plan


class FleetError(Exception):
    """A host that could not be reached or an operation that failed; the message names it."""


class Contents(FactBase[dict[str, str | None]]):
    """The whole text of the files at `paths`, None for one that is missing."""

    @override
    def command(self, paths: tuple[str, ...]) -> str:
        return "; ".join(
            f"printf '%s\\t' {p}; if [ -f {p} ]; then base64 -w0 {p}; else printf '-'; fi; echo" for p in paths
        )

    @override
    def process(self, output: Iterable[str]) -> dict[str, str | None]:
        pairs = (line.split("\t", 1) for line in output if "\t" in line)
        return {path: None if data == "-" else base64.b64decode(data).decode() for path, data in pairs}


@dataclass(frozen=True)
class Applied:
    host: str
    changed: tuple[str, ...]


def _connected(limit: str | None) -> State:
    # Importing it reads the stack's outputs.
    groups = vars(importlib.import_module("inventory.pyinfra"))["_groups"]()
    hosts: dict[str, dict[str, Any]] = {name: data for members in groups.values() for name, data in members}
    if limit is not None:
        if limit not in hosts:
            raise FleetError(f"no host {limit!r} in the inventory; there are: {', '.join(sorted(hosts))}")
        hosts = {limit: hosts[limit]}
    inventory = Inventory((sorted(hosts.items()), {}))  # type: ignore[no-untyped-call]
    state = State(inventory, Config(CONNECT_TIMEOUT=20))  # type: ignore[no-untyped-call]
    connect_all(state)
    missing = sorted(set(hosts) - {h.name for h in state.activated_hosts})
    if missing:
        raise FleetError(f"could not connect to {', '.join(missing)}: see `ssh -F .baretick/<stack>/ssh_config HOST`")
    return state


def apply_all(limit: str | None = None) -> list[Applied]:
    """Apply every host's plan; what changed, by host and operation."""
    state = _connected(limit)
    try:
        add_deploy(state, apply.deploy)
        run_ops(state)
        if state.failed_hosts:
            raise FleetError(f"tuning failed on {', '.join(sorted(h.name for h in state.failed_hosts))}")
        return [Applied(host.name, tuple(_changed(state, host))) for host in state.inventory]
    except PyinfraError as e:
        raise FleetError(f"tuning: {e}") from e
    finally:
        disconnect_all(state)


def _changed(state: State, host: Any) -> Iterable[str]:
    for op_hash, data in state.ops[host].items():
        if data.operation_meta.did_change():
            yield ", ".join(sorted(state.op_meta[op_hash].names))


def audit_all(limit: str | None = None) -> dict[str, tuple[plan.Plan, list[audit.Finding]]]:
    """Every host's plan, and each of its rows read back."""
    return _on_each(limit, _audit)


def _audit(host: Any) -> tuple[plan.Plan, list[audit.Finding]]:
    wanted = apply.plan_of_host()
    contents = host.get_fact(Contents, paths=tuple(sorted(plan.files(wanted))))
    return wanted, audit.findings(wanted, contents)


def _on_each[T](limit: str | None, function: Callable[[Any], T]) -> dict[str, T]:
    state = _connected(limit)
    results: dict[str, T] = {}
    try:
        with ctx_state.use(state):
            for host in state.inventory:
                with ctx_host.use(host):
                    results[host.name] = function(host)
    finally:
        disconnect_all(state)
    return results
