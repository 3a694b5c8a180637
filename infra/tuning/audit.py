"""Every row of a plan read back from the host: holds, drifted, waits for a reboot, or not applicable and why."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from infra.tuning.plan import Plan, files
from infra.tuning.rows import Kind, Row
from infra.tuning.topology import Topology


class State(StrEnum):
    OK = "ok"
    DRIFT = "drift"
    NEEDS_REBOOT = "needs reboot"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Finding:
    row: Row
    state: State
    found: str


def found(topology: Topology, row: Row) -> str:
    """What the host has for a row, in the form of the row's own value."""
    if row.kind is Kind.TIMER:
        return topology.units.get(row.path, "")
    file = topology.files.get(row.path)
    if file is None:
        return ""
    if row.kind is Kind.CMDLINE:
        return row.value if row.value in file.value.split() else ""
    if row.kind is Kind.SYSFS:
        chosen = re.search(r"\[(\w+)\]", file.value)
        if chosen:
            return chosen[1]
        # CPU masks come back padded to the machine's width.
        if re.fullmatch(r"[0-9a-f,]+", file.value) and row.name == "workqueues":
            same = int(file.value.replace(",", ""), 16) == int(row.value.replace(",", ""), 16)
            return row.value if same else file.value
    return " ".join(file.value.split())


def findings(plan: Plan, contents: Mapping[str, str | None]) -> list[Finding]:
    """One finding a row. `contents` are the plan's configuration files as the host has them, None where missing."""
    carried = files(plan)
    return [_finding(plan, row, carried, contents) for row in plan.rows]


def _finding(plan: Plan, row: Row, carried: Mapping[str, str], contents: Mapping[str, str | None]) -> Finding:
    if row.not_applicable:
        return Finding(row, State.NOT_APPLICABLE, row.not_applicable)
    if row.kind is Kind.CONFIG:
        same = contents.get(row.path) == carried[row.path]
        return Finding(row, State.OK if same else State.DRIFT, "as written" if same else "another content")
    value = found(plan.topology, row)
    if value == row.value:
        return Finding(row, State.OK, value)
    if row.kind is Kind.CMDLINE and _persisted(row, contents):
        return Finding(row, State.NEEDS_REBOOT, "in GRUB, not in the running kernel")
    return Finding(row, State.DRIFT, value or "nothing")


def _persisted(row: Row, contents: Mapping[str, str | None]) -> bool:
    return any(row.value in re.split(r'[\s"]+', text or "") for text in contents.values())


def worst(states: Iterable[State]) -> State:
    """The state that a host as a whole is in."""
    order = (State.DRIFT, State.NEEDS_REBOOT, State.OK, State.NOT_APPLICABLE)
    present = set(states)
    return next((state for state in order if state in present), State.OK)
