"""`make up`: from nothing to a trading site, in numbered steps; a second run does only what is missing."""

import sys
import time

from infra.paths import repo_root
from infra.verbs import flow, forwards, playbook, pulumi_state, status
from infra.verbs.memory import PeakMemory
from infra.verbs.site import QUIETLY, Site, log_dir, pulumi
from infra.verbs.steps import Steps

PULUMI_LINES = r"^\s*(\+|~|-|error|Resources|Duration|\s+[+~-] \d)|rror:"
ANSIBLE_LINES = r"^(PLAY \[|changed: |fatal: |failed: |PLAY RECAP|\S+ +: ok=)|^\[ERROR\]"


def main(stack: str) -> int:
    """Bring the site up and show its status table; returns the process's exit code."""
    python = sys.executable
    env = {"BARETICK_STACK": stack, "ANSIBLE_FORCE_COLOR": "0"}
    emulator = pulumi_state.emulator_settings(stack)
    steps = Steps("up", 7 if emulator else 5, log_dir(stack))
    with PeakMemory() as memory:
        steps.call("site: read and validate the description", lambda: pulumi_state.validate(stack))
        steps.command("artefacts: fetch or build what is missing", [python, "-m", "infra.mirror", "fill"], show=r"^\[")
        if emulator:
            steps.command(
                "ground: emulated Hetzner, network, mirror",
                [python, "-m", "infra.emulator", "start", "--name", stack, "--port", str(emulator.port)],
                show=r".",
            )
        steps.call("state: recover from an interrupted run", lambda: pulumi_state.recover(stack))
        steps.command(
            "machines: pulumi up",
            # The emulated cloud lies in a folder: somebody may have removed it. Real servers go by nobody's accident.
            [pulumi(), "up", *QUIETLY, *(["--refresh"] if emulator else []), "--stack", stack],
            show=PULUMI_LINES,
            env=env,
            cwd=repo_root(),
        )
        steps.command(
            "services and tuning: ansible-playbook site.yml",
            playbook.command(),
            show=ANSIBLE_LINES,
            env={**env, **playbook.environment(stack)},
            cwd=repo_root(),
        )
        site = Site(stack)
        if emulator:

            def trade() -> str:
                forwards.publish(site)
                return flow.wait_until_trading(site, deadline=time.monotonic() + 180)

            steps.call("trading: market data flows, orders fill", trade)
    steps.finish(f"; peak memory of the machine {memory.peak_gib:.1f} GiB above the start")
    print()
    status.show(site)
    return 0
