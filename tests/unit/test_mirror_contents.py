"""What the mirror makes: archives with the same bytes everywhere, wheels held to the lock, the app's own wheel."""

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.mirror import app_wheel, tarball, wheels
from infra.mirror.manifest import Wheels, find, source_dir

DIGEST = "0" * 64
LOCK = f"""\
# a comment
plain==1.0 \\
    --hash=sha256:{DIGEST} \\
    --hash=sha256:{"1" * 64}
    # via something
Extra_Name[speed]==2.1 ; python_full_version < '3.14' \\
    --hash=sha256:{"2" * 64}
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:{"3" * 64}
old==1 ; python_full_version < '3.13' \\
    --hash=sha256:{"4" * 64}
"""
RECIPE = Wheels(kind="wheels", lock="lock", python="3.13", platforms=["manylinux_2_28_x86_64"])

_files = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.x", fullmatch=True),
    st.tuples(st.binary(max_size=200_000), st.booleans()),
    max_size=5,
)


def write(folder: Path, files: dict[str, tuple[bytes, bool]], order: int) -> None:
    for name, (content, executable) in sorted(files.items(), reverse=bool(order)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o700 if executable else 0o600)
        os.utime(folder / name, (order, order * 1000))


# No deadline: it writes files, and the gate runs on a busy machine.
@settings(deadline=None, max_examples=40)
@given(_files)
def test_an_archive_depends_on_its_contents_alone_and_unpacks_to_them(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, tuple[bytes, bool]]
) -> None:
    base = tmp_path_factory.mktemp("pack")
    for order in (0, 1):
        (base / str(order)).mkdir()
        write(base / str(order), files, order)
        tarball.pack(base / str(order), base / f"{order}.tgz", "tool-1.0")
    assert (base / "0.tgz").read_bytes() == (base / "1.tgz").read_bytes()
    with tarfile.open(base / "0.tgz", "r:gz") as packed:
        members = {m.name: m for m in packed.getmembers() if m.isfile()}
        assert set(members) == {f"tool-1.0/{name}" for name in files}
        for name, (content, executable) in files.items():
            member = members[f"tool-1.0/{name}"]
            extracted = packed.extractfile(member)
            assert extracted is not None and extracted.read() == content
            assert member.mode == (0o755 if executable else 0o644)
            assert (member.uid, member.gid, member.mtime) == (0, 0, 0)


def test_an_archive_is_one_that_gzip_itself_reads(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "big").write_bytes(b"x" * 65535 * 3)
    tarball.pack(tmp_path / "in", tmp_path / "a.tgz", "p")
    subprocess.run(["gzip", "--test", str(tmp_path / "a.tgz")], check=True)


def test_a_lock_is_read_with_its_hashes_and_markers() -> None:
    pins = {p.name: p for p in wheels.parse_lock(LOCK)}
    assert pins["plain"].hashes == {DIGEST, "1" * 64}
    assert pins["extra-name"].version == "2.1"
    assert len(pins) == 4


def test_only_what_the_hosts_need_is_wanted_whatever_runs_here() -> None:
    assert [p.spelled for p in wheels.wanted(RECIPE, LOCK)] == ["plain==1.0", "extra-name==2.1"]


def test_every_pin_of_the_apps_own_lock_has_a_hash() -> None:
    recipe = find("wheels").obtain
    assert isinstance(recipe, Wheels)
    pins = wheels.wanted(recipe, (app_wheel.repo_root() / recipe.lock).read_text())
    assert {"chdb", "numba", "confluent-kafka"} <= {p.name for p in pins}
    assert all(p.hashes for p in pins)


def test_a_missing_and_an_altered_wheel_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = b"wheel"
    text = f"one==1.0 --hash=sha256:{hashlib.sha256(good).hexdigest()}\ntwo==2.0 --hash=sha256:{DIGEST}\n"
    (tmp_path / "lock").write_text(text)
    monkeypatch.setattr(wheels, "repo_root", lambda: tmp_path)
    (tmp_path / "one-1.0-py3-none-any.whl").write_bytes(good)
    assert [(f, found) for f, _, found in wheels.faults(RECIPE, tmp_path)] == [("two==2.0", "missing")]
    (tmp_path / "two-2.0-cp313-cp313-manylinux_2_28_x86_64.whl").write_bytes(b"other")
    assert [f for f, _, _ in wheels.faults(RECIPE, tmp_path)] == ["two-2.0-cp313-cp313-manylinux_2_28_x86_64.whl"]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small app of its own, and a cache of its own."""
    app = tmp_path / "clone" / "app"
    package = app / "src" / "tiny"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("x = 1\n")
    (app / "README.md").write_text("tiny\n")
    (app / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "tiny"\nversion = "1"\nrequires-python = ">=3.12"\nreadme = "README.md"\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["src/tiny"]\n'
    )
    monkeypatch.setattr(app_wheel, "repo_root", lambda: tmp_path / "clone")
    monkeypatch.setenv("BARETICK_CACHE", str(tmp_path / "cache"))
    return app


def test_the_apps_wheel_is_built_once_for_each_state_of_its_sources(app: Path) -> None:
    first = app_wheel.app_wheel()
    assert first.name == "tiny-1-py3-none-any.whl"
    written = first.stat().st_mtime_ns
    (app / "src" / "tiny" / "__pycache__").mkdir()
    (app / "src" / "tiny" / "__pycache__" / "x.pyc").write_bytes(b"compiled")
    assert app_wheel.app_wheel() == first
    assert first.stat().st_mtime_ns == written
    (app / "src" / "tiny" / "__init__.py").write_text("x = 2\n")
    assert app_wheel.app_wheel() != first


def test_the_apps_wheel_has_the_same_bytes_when_built_again(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = app_wheel.app_wheel().read_bytes()
    os.utime(app / "src" / "tiny" / "__init__.py", (1, 1))
    monkeypatch.setenv("BARETICK_CACHE", str(app.parent.parent / "another"))
    assert app_wheel.app_wheel().read_bytes() == first


def test_kafkas_scripts_give_java_what_upstreams_do(tmp_path: Path) -> None:
    """Run the start scripts in upstream's layout with a java that prints its arguments."""
    home = tmp_path / "kafka"
    for part in ("bin", "config"):
        (home / part).mkdir(parents=True)
        for file in (source_dir("kafka") / part).iterdir():
            copy = home / part / file.name
            copy.write_bytes(file.read_bytes())
            copy.chmod(0o755)
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    java.chmod(0o755)
    env = {"PATH": os.environ["PATH"], "JAVA_HOME": str(tmp_path / "jdk"), "KAFKA_HEAP_OPTS": "-Xmx512m -Xms512m"}

    def run(script: str, *arguments: str) -> list[str]:
        done = subprocess.run([home / "bin" / script, *arguments], env=env, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    started = run("kafka-server-start.sh", "server.properties", "--override", "node.id=2")
    assert started[:2] == ["-Xmx512m", "-Xms512m"]
    assert started[-4:] == ["kafka.Kafka", "server.properties", "--override", "node.id=2"]
    assert f"{home}/libs/*" in started
    assert f"-Dlog4j2.configurationFile={home}/config/log4j2.xml" in started
    listed = run("kafka-topics.sh", "--list", "--bootstrap-server", "a:1")
    assert listed[-4:] == ["org.apache.kafka.tools.TopicCommand", "--list", "--bootstrap-server", "a:1"]
    # A tool's log must not mix with its answer.
    assert f"-Dlog4j2.configurationFile={home}/config/tools-log4j2.xml" in listed
