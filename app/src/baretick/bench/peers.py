"""Other engines on the same file in the same run: building their harnesses, running them, comparing digests.

The harnesses and their pins (Cargo.lock, pom.xml, jars.sha256) are source, in tests/bench/peers of the repository.
They are built on demand into the cache folder, keyed by their content, so that a second run builds nothing. Which
registry serves the packages is the machine's own setting (cargo, Maven): no file here names one, which is why the
committed Cargo.lock has its `source` lines taken out, and they are put back in the build folder.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

RUST: Final = ("orderbook_rs", "lobster", "hftbacktest")
JAVA: Final = "exchange_core"
TITLES: Final = {
    JAVA: "exchange-core 0.5.3 Direct",
    "orderbook_rs": "orderbook-rs 0.15.3",
    "lobster": "lobster 0.7.0",
    "hftbacktest": "hftbacktest 0.9.4",
}


class PeerError(RuntimeError):
    """A peer could not be built or run; the message says which, why, and where its output is."""


def sources(given: Path | None = None) -> Path:
    """The folder of harnesses. PeerError if there is none."""
    candidates = [given] if given else [p / "tests/bench/peers" for p in (Path.cwd(), *Path(__file__).parents)]
    for folder in candidates:
        if (folder / JAVA / "pom.xml").is_file():
            return folder
    raise PeerError("no harnesses found: run this inside a checkout, or name its tests/bench/peers by --peers-dir")


def cache_folder() -> Path:
    return Path(os.environ.get("BARETICK_CACHE") or Path.home() / ".cache/baretick") / "peers"


def _content(*folders: Path) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and "target" not in p.parts):
            digest.update(f"{folder.name}/{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _run(name: str, log: Path, command: list[str], cwd: Path, need: str) -> str:
    if shutil.which(command[0]) is None:
        raise PeerError(f"{name}: {command[0]} is not on PATH: install {need}")
    with log.open("ab") as sink:
        done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=sink, check=False)
        sink.write(done.stdout)
    if done.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise PeerError(f"{name}: `{' '.join(command[:3])}` failed ({done.returncode}): {' '.join(last)} (log: {log})")
    return done.stdout.decode()


def build(name: str, root: Path, say: Callable[[str], None]) -> list[str]:
    """The command that runs a peer, built first if its content was never built here."""
    folders = (root / name, root / "common") if name in RUST else (root / name,)
    made = cache_folder() / f"{name}-{_content(*folders)}"
    if not (made / "done").exists():
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        for folder in folders:
            shutil.copytree(folder, made / folder.name, ignore=shutil.ignore_patterns("target"))
        say(f"building {TITLES[name]} (once; log: {made / 'build.log'})")
        (_build_rust if name in RUST else _build_java)(name, made)
        (made / "done").touch()
    if name in RUST:
        return [str(made / "peer")]
    # The serial collector has the cheapest barriers, and memory enough means that it hardly ever runs.
    return ["java", "-Xms3g", "-Xmx3g", "-XX:+UseSerialGC", "-cp", f"{made}/classes:{made}/jars/*", "Peer"]


def _build_rust(name: str, made: Path) -> None:
    home, log = made / name, made / "build.log"
    pinned = (home / "Cargo.lock").read_text()
    (home / "Cargo.lock").unlink()
    _run(name, log, ["cargo", "generate-lockfile"], home, "Rust with cargo")
    found = re.search(r'^source = ".*"$', (home / "Cargo.lock").read_text(), re.M)
    if found is None:
        raise PeerError(f"{name}: cargo wrote a lock file without a registry (log: {log})")
    (home / "Cargo.lock").write_text(re.sub(r"^(?=checksum = )", found[0] + "\n", pinned, flags=re.M))
    target = made / "target"
    _run(name, log, ["cargo", "build", "--release", "--locked", "--target-dir", str(target)], home, "Rust with cargo")
    shutil.copy2(target / "release/peer", made / "peer")
    shutil.rmtree(target)


def _build_java(name: str, made: Path) -> None:
    home, log, jars = made / name, made / "build.log", made / "jars"
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
    _run(name, log, ["mvn", "-q", "-B", "--strict-checksums", *goal], home, "Maven and a JDK 17")
    for line in (home / "jars.sha256").read_text().splitlines():
        expected, jar = line.split()
        got = hashlib.sha256((jars / jar).read_bytes()).hexdigest() if (jars / jar).exists() else "missing"
        if got != expected:
            raise PeerError(f"{name}: {jar} is {got}, jars.sha256 pins {expected}: someone altered it")
    (made / "classes").mkdir()
    source = home / "src/main/java/Peer.java"
    _run(name, log, ["javac", "-cp", f"{jars}/*", "-d", str(made / "classes"), str(source)], home, "a JDK 17")


def run(name: str, command: list[str], stream: Path, symbols: int, passes: int, *more: str) -> dict[str, Any]:
    """What a peer says of a stream file, as its JSON object."""
    log = cache_folder() / f"{name}.log"
    text = _run(name, log, [*command, str(stream), str(symbols), str(passes), *more], stream.parent, "a JDK 17")
    try:
        result: dict[str, Any] = json.loads(text)
    except ValueError:
        raise PeerError(f"{name}: said no JSON object but {text[:80]!r} (log: {log})") from None
    return result


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """The digests that a peer gives and that are not ours: 'trades 5, ours 6'."""
    keys = (
        "events",
        "trades",
        "volume",
        "tradehash",
        "resting",
        "restqty",
        "bookhash",
        "rejects",
        "tophash",
        "levelhash",
    )
    return [f"{k} {theirs[k]}, ours {ours[k]}" for k in keys if k in theirs and theirs[k] != ours[k]]
