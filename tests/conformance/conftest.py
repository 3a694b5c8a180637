"""Clients that others wrote, in the interpreter of a locked environment of their own, and an emulator before them."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.emulator.testing import ROBOT_LOGIN, Running, running_api
from infra.emulator.tls import server_context
from infra.paths import cache_dir

HERE = Path(__file__).resolve().parent
PATIENCE = 540


@pytest.fixture(scope="session")
def interpreter() -> Path:
    """Of the environment that requirements.lock describes; made once, kept in the cache outside the clone."""
    lock = HERE / "requirements.lock"
    tag = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache_dir() / "conformance" / tag
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--clear", str(folder)], check=True)
        uv = Path(sys.executable).with_name("uv")
        sync = [str(uv), "pip", "sync", "-q", "--require-hashes", "--python", str(python), str(lock)]
        subprocess.run(sync, check=True, timeout=PATIENCE)
        (folder / ".ready").touch()
    return python


@dataclass(frozen=True)
class World:
    """An emulator that answers to Hetzner's names, and a way to run clients that know it by no other."""

    api: Running
    interpreter: Path
    environment: dict[str, str]
    folder: Path

    def python(self, script: str) -> Any:
        """Run a client's script; what it prints last is JSON."""
        ran = self._run([str(self.interpreter), "-c", script])
        return json.loads(ran.splitlines()[-1])

    def playbook(self, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run tasks on this machine; the results of all of them, in order. A task that fails fails the test."""
        play = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
        file = self.folder / "play.json"
        file.write_text(json.dumps(play))
        ran = self._run([str(self.interpreter), "-m", "ansible", "playbook", "-i", "localhost,", str(file)])
        document = json.loads(ran[ran.index("{") :])
        return [task["hosts"]["localhost"] for task in document["plays"][0]["tasks"]]

    def _run(self, argv: list[str]) -> str:
        ran = subprocess.run(
            argv, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, cwd=self.folder, check=False
        )
        assert ran.returncode == 0, _why(ran)
        return ran.stdout


def _why(ran: "subprocess.CompletedProcess[str]") -> str:
    """The messages of the tasks that failed, or the end of what was said."""
    messages = [line.strip() for line in ran.stdout.splitlines() if '"msg":' in line]
    return "\n".join(messages[-3:]) or ran.stdout[-2000:] + ran.stderr[-2000:]


@pytest.fixture
def world(interpreter: Path, tmp_path: Path) -> Iterator[World]:
    context, authority = server_context(tmp_path / "tls")
    with running_api(robot_tls=context) as api:
        api.account.rack(number=321, name="one")
        api.account.rack(number=322, name="two")
        user, password = ROBOT_LOGIN
        environment = {
            "PATH": f"{interpreter.parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(HERE / "environment"),
            "SSL_CERT_FILE": str(authority),
            "ROBOT_TLS_PORT": str(api.robot_port),
            "ROBOT_USER": user,
            "ROBOT_PASSWORD": password,
            "HCLOUD_ENDPOINT": api.endpoint,
            "HCLOUD_TOKEN": "t" * 64,
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_CONNECTION_PLUGINS": "",
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_PYTHON_INTERPRETER": str(interpreter),
            "ANSIBLE_TRANSPORT": "local",
            "LC_ALL": "C.UTF-8",
        }
        yield World(api, interpreter, environment, tmp_path)
