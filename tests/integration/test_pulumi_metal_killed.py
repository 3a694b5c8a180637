"""`kill -9` in the middle of `pulumi up` of a mixed site, again and again: it goes on, and installs nothing twice.

BARETICK_KILLS says how many kills in all (default: 4), BARETICK_SEED at which moments.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pulumi_rig import BIN, changes
from test_pulumi_metal import METAL, Mixed, mixed_site

from infra.emulator import control
from infra.emulator.client import Client
from infra.emulator.instance import Instance
from infra.paths import state_dir

STACK, PORT = "itkilled", 8961
KILLS = int(os.environ.get("BARETICK_KILLS", "4"))
SEED = int(os.environ.get("BARETICK_SEED", "1"))

pytestmark = [pytest.mark.root, pytest.mark.timeout(3600)]


def killed_up(site: Mixed, after: float) -> bool:
    """Whether it was killed; False where it had ended well before."""
    argv = [BIN / "pulumi", "up", "--yes", "--skip-preview", "--stack", STACK, "--non-interactive", "--color", "never"]
    log = site.folder / "up.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            argv, cwd=site.folder, env=site.environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            code = child.wait(after)
        except subprocess.TimeoutExpired:
            # All of it at once: the command, the program and its providers.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            return True
    assert code == 0, log.read_text()[-3000:]
    return False


def recover(site: Mixed) -> None:
    """What `make up` does after a run that was killed."""
    site.pulumi("cancel", "--yes", "--stack", STACK, interactive=True)
    exported = json.loads(site.pulumi("stack", "export", "--stack", STACK))["deployment"]
    if exported.get("pending_operations"):
        site.pulumi("refresh", "--yes", "--clear-pending-creates", "--skip-preview", "--stack", STACK)


def test_a_run_killed_again_and_again_goes_on_and_installs_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARETICK_ROBOT_STATE", str(tmp_path / "ledger"))
    chance, left, rounds = random.Random(SEED), KILLS, 0
    site = Mixed(tmp_path, STACK)
    site.environment["BARETICK_ROBOT_STATE"] = str(tmp_path / "ledger")
    site.write({**mixed_site(), "name": STACK, "emulator": {"port": PORT}})
    site.pulumi("stack", "init", STACK)
    try:
        while left:
            rounds += 1
            while left and killed_up(site, chance.uniform(1, 25)):
                left -= 1
                recover(site)
            site.up()
            assert list(changes(site.up())) == ["unchanged"]
            check(site)
            site.pulumi("destroy", "--yes", "--skip-preview", "--stack", STACK)
            for number in METAL.values():
                # The next round begins with servers that are new.
                request = f"http://127.0.0.1:{PORT}/_emulator/dedicated/{number}"
                subprocess.run(["curl", "-fsS", "-X", "DELETE", request], check=True, timeout=60)
            shutil.rmtree(state_dir(STACK) / "robot")
        print(f"{KILLS} kills in {rounds} rounds")
    finally:
        assert control.stop(STACK, wipe=True, grace=10) == []
        shutil.rmtree(state_dir(STACK))


def check(site: Mixed) -> None:
    assert sorted(s["name"] for s in Client(PORT).every("servers")) == ["data-1", "ops-1"]
    for number in METAL.values():
        record = json.loads((state_dir(STACK) / "robot" / f"{number}.json").read_text())
        assert record["state"] == "ready" and record["install_tries"] == 0
        server = Client(PORT).get(f"/_emulator/dedicated/{number}")["dedicated"]
        # The rescue system once, the installed one once; a restart that was asked for just before a kill may be
        # asked for once more.
        assert 2 <= server["boots"] <= 4, server
    log = (Instance.at(STACK, state_dir(STACK)).logs / "daemon.log").read_text()
    assert " 403\n" not in log
    site.run(str(BIN / "ansible-inventory"), "--graph")
    deadline = time.monotonic() + 30
    while not site.crosses("data-1", "10.77.2.11"):
        assert time.monotonic() < deadline
