"""A whole site for the end-to-end story: the local stack's description under another name, ports and state.

A site that somebody runs from this clone is left alone. `BARETICK_E2E_KEEP=1` leaves the site up for a look.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.verbs.site import Site

ROOT = Path(__file__).resolve().parents[2]
STACK = "e2e"
EMULATOR_PORT = 8921


def verb(*args: str, check: bool = True, timeout: float = 1800) -> "subprocess.CompletedProcess[str]":
    """Run a verb as make does; its output goes to the terminal as it comes, so that a slow step shows."""
    result = subprocess.run(
        [sys.executable, "-u", "-m", "infra.verbs", *args],
        cwd=ROOT,
        env={**os.environ, "BARETICK_STACK": STACK},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )
    sys.stdout.write(result.stdout)
    sys.stdout.flush()
    if check:
        assert result.returncode == 0, f"{' '.join(args)} ended with {result.returncode}:\n{result.stdout[-4000:]}"
    return result


@pytest.fixture(scope="session")
def stack_file() -> Path:
    """Pulumi.e2e.yaml: the local site with its own name and emulator port."""
    text = (ROOT / "Pulumi.local.yaml").read_text()
    assert "name: local" in text and "port: 8901" in text, "the local stack no longer has the lines that e2e renames"
    target = ROOT / f"Pulumi.{STACK}.yaml"
    target.write_text(text.replace("name: local", f"name: {STACK}").replace("port: 8901", f"port: {EMULATOR_PORT}"))
    return target


@pytest.fixture(scope="session")
def site(stack_file: Path) -> Iterator[Site]:
    """The site, up; afterwards destroyed, also where it did not come up."""
    try:
        verb("up")
        yield Site(STACK)
    finally:
        if not os.environ.get("BARETICK_E2E_KEEP"):
            verb("clean")
            stack_file.unlink()
