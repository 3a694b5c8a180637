"""`make verify`: testinfra over every host, the tuning audit, and reconciliation of the session that was served."""

import os
import sys

from infra.paths import repo_root
from infra.verbs.site import log_dir
from infra.verbs.steps import Steps

PYTEST_LINES = r"(FAILED|ERROR|passed|failed|error)"


def main(stack: str) -> int:
    """Run every proof; the first that does not hold ends with its evidence."""
    env = {"BARETICK_STACK": stack, "PATH": f"{repo_root() / '.venv' / 'bin'}:{os.environ['PATH']}"}
    steps = Steps("verify", 3, log_dir(stack))
    steps.command(
        "tuning: every row of the plan read back",
        [sys.executable, "-m", "infra.tuning", "audit"],
        env=env,
        cwd=repo_root(),
        show=r".",
    )
    pytest = [sys.executable, "-m", "pytest", "-q", "-m", "site", "-p", "no:cacheprovider"]
    steps.command(
        "hosts: ports, units, versions, users, files",
        [*pytest, "tests/host", "--deselect", "tests/host/test_reconcile.py"],
        env=env,
        cwd=repo_root(),
        show=PYTEST_LINES,
    )
    steps.command(
        "reconciliation: the warehouse against an independent count of the session",
        [*pytest, "-s", "tests/host/test_reconcile.py"],
        env=env,
        cwd=repo_root(),
        show=r"(FAILED|ERROR|passed|failed|error|reconcile|\|)",
    )
    steps.finish()
    return 0
