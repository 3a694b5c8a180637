"""`make test` and `make test-site`: every proof in numbered steps with their times."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.paths import repo_root
from infra.verbs.steps import Steps

MOLECULE_LINES = r"(INFO|PLAY RECAP|ok=|WARNING|ERROR|passed|failed)"
FILL = [sys.executable, "-m", "infra.mirror", "fill"]
PYTEST = [sys.executable, "-m", "pytest", "-v", "--durations=10"]
PYTEST_LINES = r"(^tests/.*(FAILED|SKIPPED)|^(FAILED|ERROR|SKIPPED)|=+ .*(passed|failed|error|skipped).* =+|\d+ passed)"


def main() -> int:
    """Everything, in one go; needs root, as the machines it boots do."""
    gate = Gate("test", 7)
    with gate.artefacts_ahead():
        gate.lint()
        gate.unit()
        gate.conformance()
        gate.artefacts()
    gate.integration()
    gate.roles()
    gate.site()
    gate.finish()
    return 0


def whole_site() -> int:
    """The roles on fresh hosts by molecule, then the whole site's story end to end."""
    gate = Gate("test-site", 3)
    gate.artefacts()
    gate.roles()
    gate.site()
    gate.finish()
    return 0


class Gate(Steps):
    """The steps, each in one place; logs go to a new folder under /tmp."""

    def __init__(self, title: str, total: int) -> None:
        super().__init__(title, total, Path(tempfile.mkdtemp(prefix="baretick-test-")))

    def lint(self) -> None:
        self._run("lint", ["infra/lint.sh"], ".")

    def unit(self) -> None:
        self._run("unit", [*PYTEST, "tests/unit"], PYTEST_LINES)

    def conformance(self) -> None:
        self._run("clients of others", [*PYTEST, "tests/conformance"], PYTEST_LINES)

    @contextmanager
    def artefacts_ahead(self) -> Iterator[None]:
        """Fill the cache on the core that the first steps leave idle; `artefacts` waits for it and says what failed."""
        with (self.log_dir / "artefacts-ahead.log").open("w") as log:
            ahead = subprocess.Popen(["nice", "-n", "10", *FILL], stdout=log, stderr=log, cwd=repo_root())
        try:
            yield
        finally:
            ahead.terminate()
            ahead.wait()

    def artefacts(self) -> None:
        self._run("artefacts", FILL, r"^\[|waiting for it")

    def integration(self) -> None:
        self._run("integration", [*PYTEST, "tests/integration"], PYTEST_LINES)

    def roles(self) -> None:
        self._run("molecule", ["molecule", "test"], MOLECULE_LINES)

    def site(self) -> None:
        self._run("site end to end", [*PYTEST, "-s", "tests/e2e"], PYTEST_LINES + r"|^\s*\[")

    def _run(self, name: str, argv: list[str], show: str) -> None:
        env = {"PATH": f"{repo_root() / '.venv' / 'bin'}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        self.command(name, argv, env=env, cwd=repo_root(), show=show)
