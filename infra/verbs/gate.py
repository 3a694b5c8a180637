"""`make test` and `make test-site`: every proof in numbered steps with their times."""

import os
import sys
import tempfile
from pathlib import Path

from infra.paths import repo_root
from infra.verbs.steps import Steps

MOLECULE_LINES = r"(INFO|PLAY RECAP|ok=|WARNING|ERROR|passed|failed)"
PYTEST_LINES = r"(^tests/.*(FAILED|SKIPPED)|^(FAILED|ERROR|SKIPPED)|=+ .*(passed|failed|error|skipped).* =+|\d+ passed)"


def main() -> int:
    """Run the suite in one go; needs root, as the machines it boots do."""
    steps, env, pytest = _steps("test", 5)
    root = repo_root()
    steps.command("lint", ["infra/lint.sh"], env=env, cwd=root, show=".")
    steps.command("unit", [*pytest, "tests/unit"], env=env, cwd=root, show=PYTEST_LINES)
    steps.command("clients of others", [*pytest, "tests/conformance"], env=env, cwd=root, show=PYTEST_LINES)
    steps.command("artefacts", [sys.executable, "-m", "infra.mirror", "fill"], env=env, cwd=root, show=r"^\[")
    steps.command("integration", [*pytest, "tests/integration"], env=env, cwd=root, show=PYTEST_LINES)
    steps.finish()
    return 0


def whole_site() -> int:
    """The roles on fresh hosts by molecule, then the whole site's story end to end."""
    steps, env, pytest = _steps("test-site", 3)
    root = repo_root()
    steps.command("artefacts", [sys.executable, "-m", "infra.mirror", "fill"], env=env, cwd=root, show=r"^\[")
    steps.command("molecule", ["molecule", "test"], env=env, cwd=root, show=MOLECULE_LINES)
    steps.command("site end to end", [*pytest, "-s", "tests/e2e"], env=env, cwd=root, show=PYTEST_LINES + r"|^\s*\[")
    steps.finish()
    return 0


def _steps(title: str, total: int) -> tuple[Steps, dict[str, str], list[str]]:
    env = {"PATH": f"{repo_root() / '.venv' / 'bin'}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    pytest = [sys.executable, "-m", "pytest", "-v", "--durations=10"]
    return Steps(title, total, Path(tempfile.mkdtemp(prefix="baretick-test-"))), env, pytest
