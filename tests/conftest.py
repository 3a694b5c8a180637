"""What every test may ask for: the captures folder, and a visible skip where root is needed."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Compilers, caches and a busy machine make the first example slow; how long one takes is no property of the code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root on Linux: run as root, as .ci/run does")
    for item in items:
        if "root" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of recorded market data; tests that need it are skipped where there is none."""
    folder = Path(os.environ.get("BARETICK_CAPTURES") or ROOT.parent / "shared" / "data" / "market")
    if not folder.is_dir():
        pytest.skip("no captures: set BARETICK_CAPTURES to a folder of recorded sessions")
    return folder
