"""The stack before Pulumi runs: its description validated, its lock and half-done operations of a killed run mended."""

import json
import os
import subprocess
from dataclasses import dataclass

from infra.paths import repo_root
from infra.site import load_stack
from infra.verbs.site import pulumi
from infra.verbs.steps import StepFailed


@dataclass(frozen=True)
class EmulatorSettings:
    """Where the stack's emulator listens; loopback forwards are shifted by `offset` to keep stacks apart."""

    port: int

    @property
    def offset(self) -> int:
        return (self.port - 8901) * 1000


def emulator_settings(stack: str) -> EmulatorSettings | None:
    """The emulator of an emulated stack, None for a real one."""
    spec = load_stack(stack)
    return EmulatorSettings(spec.emulator.port) if spec.emulated else None


def validate(stack: str) -> str:
    spec = load_stack(stack)
    return f"{spec.name}: {len(spec.hosts)} hosts in {len(spec.pools)} pools ({spec.environment})"


def recover(stack: str) -> str:
    """Select (or make) the stack; lift a lock whose owner is dead; clear creations that a killed run left pending."""
    _run("stack", "select", "--create", stack)
    notes = []
    locks = repo_root() / ".baretick" / "pulumi" / ".pulumi" / "locks"
    for lock in locks.rglob(f"{stack}/*.json"):
        owner = json.loads(lock.read_text())
        if _alive(int(owner["pid"])):
            raise StepFailed(f"another pulumi (pid {owner['pid']}) works on stack {stack}: wait for it, then run again")
        _run("cancel", "--yes", "--stack", stack)
        notes.append(f"lifted the lock of pid {owner['pid']}, which is gone")
        break
    pending = json.loads(_run("stack", "export", "--stack", stack))["deployment"].get("pending_operations") or []
    if pending:
        _run("refresh", "--yes", "--clear-pending-creates", "--skip-preview", "--stack", stack)
        notes.append(f"cleared {len(pending)} pending operations")
    return "; ".join(notes) or "nothing to mend"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _run(*args: str) -> str:
    result = subprocess.run(
        [pulumi(), *args, "--non-interactive"] if args[0] != "cancel" else [pulumi(), *args],
        capture_output=True,
        text=True,
        cwd=repo_root(),
        check=False,
    )
    if result.returncode != 0:
        raise StepFailed(f"pulumi {' '.join(args)}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout
