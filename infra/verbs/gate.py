"""`make test`: lint, unit, integration, molecule, and the site end to end, in numbered steps with their times."""

import os
import sys
import tempfile
from pathlib import Path

from infra.paths import repo_root
from infra.verbs.steps import Steps

PYTEST_LINES = r"(^tests/.*(FAILED|SKIPPED)|^(FAILED|ERROR|SKIPPED)|=+ .*(passed|failed|error|skipped).* =+|\d+ passed)"


def main() -> int:
    """Run the whole suite; needs root, as the site it boots does."""
    root = repo_root()
    env = {"PATH": f"{root / '.venv' / 'bin'}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    pytest = [sys.executable, "-m", "pytest", "-v", "--durations=10"]
    steps = Steps("test", 6, Path(tempfile.mkdtemp(prefix="baretick-test-")))
    steps.command("lint", ["infra/lint.sh"], env=env, cwd=root, show=".")
    steps.command("unit", [*pytest, "tests/unit"], env=env, cwd=root, show=PYTEST_LINES)
    steps.command("artefacts", [sys.executable, "-m", "infra.mirror", "fill"], env=env, cwd=root, show=r"^\[")
    steps.command("integration", [*pytest, "tests/integration"], env=env, cwd=root, show=PYTEST_LINES)
    steps.command(
        "molecule", ["molecule", "test"], env=env, cwd=root, show=r"(INFO|PLAY RECAP|ok=|WARNING|ERROR|passed|failed)"
    )
    steps.command(
        "site end to end", [*pytest, "-s", "tests/e2e"], env=env, cwd=root, show=PYTEST_LINES + r"|^\s*(\[|e2e)"
    )
    steps.finish()
    return 0
