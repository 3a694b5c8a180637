"""`make down` and `make clean`: stop a site and keep its disks, or destroy it whole."""

import shutil
import sys

from infra.access import close_connections
from infra.paths import repo_root, state_dir
from infra.verbs import pulumi_state
from infra.verbs.site import QUIETLY, log_dir, pulumi
from infra.verbs.steps import StepFailed, Steps


def down(stack: str) -> int:
    """Stop every machine and everything that carries them; nothing of ours keeps running."""
    if pulumi_state.emulator_settings(stack) is None:
        raise StepFailed(f"stack {stack} stands on real servers, which `make down` does not switch off")
    steps = Steps("down", 1, log_dir(stack))
    close_connections(stack)
    steps.command(
        "ground: stop machines, network, mirror",
        [sys.executable, "-m", "infra.emulator", "stop", "--name", stack],
        show=".",
    )
    steps.finish("; disks and state stay: `make up` starts them again, `make clean` destroys them")
    return 0


def clean(stack: str) -> int:
    """Destroy the emulated site: resources, machines, disks, keys, state. The artefact cache stays."""
    emulator = pulumi_state.emulator_settings(stack)
    if emulator is None:
        raise StepFailed(
            f"stack {stack} stands on real servers: `pulumi destroy --stack {stack}` is the deliberate way"
        )
    python = sys.executable
    steps = Steps("clean", 4, log_dir(stack))
    steps.command(
        "ground: start what pulumi has to ask",
        [python, "-m", "infra.emulator", "start", "--name", stack, "--port", str(emulator.port)],
    )
    steps.call("state: recover from an interrupted run", lambda: pulumi_state.recover(stack))
    steps.command(
        "machines: pulumi destroy",
        # What is gone already, by whatever hand, is nothing to stumble over.
        [pulumi(), "destroy", "--refresh", *QUIETLY, "--stack", stack],
        cwd=repo_root(),
        show=r"^\s*(-|Resources|Duration|\s+- \d)|rror:",
    )
    close_connections(stack)
    steps.command("ground: stop and wipe", [python, "-m", "infra.emulator", "stop", "--name", stack, "--wipe"])
    shutil.rmtree(state_dir(stack))
    steps.finish("; the artefact cache stays for the next `make up`")
    return 0
