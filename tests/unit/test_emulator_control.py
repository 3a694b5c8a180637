"""Starting and stopping the daemon, as any user can: no machines, no root."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.emulator import __main__ as cli
from infra.emulator import control, instance
from infra.emulator.errors import EmulatorError
from infra.emulator.gateway import free_port
from infra.emulator.instance import Instance
from infra.emulator.machines import nspawn
from infra.emulator.process import ProcessRef, read_ref, write_ref

NAME = "utest"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    assert control.stop(NAME, tmp_path) == []


def start(folder: Path, port: int) -> control.Client:
    return control.ensure_running(NAME, port, folder, machines="none", progress=lambda line: None)


def pid_of(folder: Path) -> int:
    ref = read_ref(Instance.at(NAME, folder).daemon_ref)
    assert ref is not None
    return ref.pid


def test_start_is_idempotent_and_stop_ends_the_process(folder: Path) -> None:
    port = free_port()
    client = start(folder, port)
    pid = pid_of(folder)
    start(folder, port)
    assert pid_of(folder) == pid
    assert client.health()["machines"] == "none"  # type: ignore[index]
    assert control.stop(NAME, folder) == []
    assert ProcessRef.of(pid) is None
    assert client.health() is None
    assert control.status(NAME, folder) is None


def test_a_daemon_killed_outright_is_followed_by_one_that_remembers(folder: Path) -> None:
    port = free_port()
    client = start(folder, port)
    client.call("POST", "/v1/placement_groups", {"name": "g", "type": "spread"})
    os.kill(pid_of(folder), signal.SIGKILL)
    start(folder, port)
    assert [g["name"] for g in client.every("placement_groups")] == ["g"]


def test_a_daemon_of_older_code_is_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    start(folder, port)
    pid = pid_of(folder)
    monkeypatch.setattr(control, "source_digest", lambda: "newer")
    start(folder, port)
    assert pid_of(folder) != pid
    assert ProcessRef.of(pid) is None


def test_a_stale_reference_to_a_recycled_pid_harms_nobody(folder: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        ref = ProcessRef.of(bystander.pid)
        assert ref is not None
        place = Instance.at(NAME, folder)
        place.make()
        write_ref(place.daemon_ref, ref.model_copy(update={"started": ref.started - 1}))
        control.stop(NAME, folder)
        assert bystander.poll() is None
        write_ref(place.daemon_ref, ref.model_copy(update={"boot": "another boot"}))
        control.stop(NAME, folder)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_damaged_reference_is_no_obstacle(folder: Path) -> None:
    place = Instance.at(NAME, folder)
    place.make()
    place.daemon_ref.write_text("{")
    assert start(folder, free_port()).health() is not None


def test_a_port_of_another_program_is_named(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmulatorError, match=f"port {port} on loopback is taken"):
            start(folder, port)


def test_a_port_of_another_emulator_is_named(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    port, other = free_port(), tmp_path_factory.mktemp("other")
    start(folder, port)
    with pytest.raises(EmulatorError, match=f"belongs to the emulator '{NAME}'"):
        control.ensure_running("utest2", port, other, machines="none", progress=lambda line: None)


def test_two_daemons_cannot_serve_one_instance(folder: Path) -> None:
    start(folder, free_port())
    argv = [sys.executable, "-m", "infra.emulator", "serve", "--name", NAME, "--machines", "none"]
    second = subprocess.run(
        [*argv, "--port", str(free_port()), "--state-dir", str(folder)],
        capture_output=True,
        text=True,
        cwd=control.repo_root(),
    )
    assert second.returncode == 1
    assert "runs already" in second.stderr


def test_wipe_removes_the_state(folder: Path) -> None:
    start(folder, free_port()).call("POST", "/v1/placement_groups", {"name": "g", "type": "spread"})
    assert control.stop(NAME, folder, wipe=True) == []
    assert not Instance.at(NAME, folder).state_file.exists()


def test_machines_without_root_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EmulatorError, match=r"need root.*--machines none"):
        control.ensure_running(NAME, free_port(), tmp_path)


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(nspawn.shutil, "which", lambda tool: None if tool in ("squid", "systemd-nspawn") else tool)
    with pytest.raises(EmulatorError, match="apt-get install systemd-container squid"):
        nspawn.require_machine_tools()


@pytest.mark.parametrize("name", ["Local", "a b", "../x", "", "x" * 25, "-a"])
def test_a_name_that_cannot_name_a_namespace_is_refused(name: str) -> None:
    with pytest.raises(EmulatorError, match="cannot name an emulator"):
        Instance.at(name)


def test_the_command_line_says_what_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--name", NAME, "--state-dir", str(folder)]
    assert cli.main(["status", *common]) == 3
    assert cli.main(["machines", *common]) == 1
    assert "start --name utest" in capsys.readouterr().err
    port = free_port()
    assert cli.main(["start", *common, "--machines", "none", "--port", str(port)]) == 0
    client = control.Client(port)
    made = client.call("POST", "/v1/servers", {"name": "data-1", "server_type": "cx33", "image": "debian-13"})
    client.settle(made["action"])
    capsys.readouterr()
    assert cli.main(["machines", *common]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["data-1", "running", "198.51.100.10"]
    assert cli.main(["status", *common]) == 0
    assert json.loads(capsys.readouterr().out)["servers"] == 1
    assert cli.main(["stop", *common]) == 0


def test_the_digest_follows_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = tmp_path / "infra" / "emulator"
    code.mkdir(parents=True)
    monkeypatch.setattr(instance, "repo_root", lambda: tmp_path)
    digests = set()
    for text in ("a = 1\n", "a = 2\n"):
        (code / "x.py").write_text(text)
        digests.add(instance.source_digest.__wrapped__())
    assert len(digests) == 2


def robot_status(port: int, login: tuple[str, str]) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/vswitch")
    request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_the_webservice_answers_beside_the_cloud_api_to_its_own_login(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, robot_port = free_port(), free_port()

    def begin() -> int:
        client = control.ensure_running(
            NAME, port, folder, robot_port=robot_port, machines="none", progress=lambda line: None
        )
        assert client.health()["robot_port"] == robot_port  # type: ignore[index]
        return pid_of(folder)

    first = begin()
    file = Instance.at(NAME, folder).robot_login
    assert file.stat().st_mode & 0o777 == 0o600
    made = tuple(file.read_text().splitlines())
    assert robot_status(robot_port, made) == 200
    assert begin() == first
    monkeypatch.setenv("EMULATOR_ROBOT_USER", "#ws+mine")
    monkeypatch.setenv("EMULATOR_ROBOT_PASSWORD", "mine")
    assert begin() != first
    assert robot_status(robot_port, ("#ws+mine", "mine")) == 200
    assert robot_status(robot_port, made) == 401
    monkeypatch.delenv("EMULATOR_ROBOT_PASSWORD")
    with pytest.raises(EmulatorError, match="belong together"):
        begin()
