"""Assemble Apache Kafka from its jars: Maven fetches them, the lock pins each one, and the layout is upstream's.

`jars.lock` in sources/<name> is what sha256sum writes. bin/ and config/ hold small start scripts of our own under
upstream's names. To raise a version: change pom.xml and the manifest, delete jars.lock's lines, run `fill`, which then
says what it found; check those against upstream before taking them over.
"""

import os
import shutil
from pathlib import Path

from infra.mirror import clients, tarball
from infra.mirror.checksums import MISSING, found
from infra.mirror.errors import MirrorError
from infra.mirror.manifest import Artefact, Maven, source_dir


def build(artefact: Artefact, recipe: Maven, staged: Path) -> None:
    """Download, check and pack."""
    source = source_dir(recipe.source)
    tree = staged / recipe.prefix
    libs = tree / "libs"
    libs.mkdir(parents=True)
    goal = [
        "mvn",
        "--batch-mode",
        "--no-transfer-progress",
        "-f",
        str(source / "pom.xml"),
        "dependency:copy-dependencies",
    ]
    # Maven writes target/ beside the pom unless told otherwise; the repository stays clean.
    where = [f"-DoutputDirectory={libs}", f"-DbuildDirectory={staged / 'target'}"]
    clients.run(artefact.name, [*goal, *where], staged, os.environ, "fetching jars")
    check_jars(artefact.name, libs, source / "jars.lock")
    for part in ("bin", "config"):
        shutil.copytree(source / part, tree / part)
    for script in (tree / "bin").iterdir():
        script.chmod(0o755)
    tarball.pack(tree, staged / artefact.file, recipe.prefix)
    shutil.rmtree(tree)
    shutil.rmtree(staged / "target", ignore_errors=True)


def check_jars(artefact: str, libs: Path, lock: Path) -> None:
    """Every jar is one that the lock names, with its bytes, and none is missing."""
    pinned = {name: digest for digest, name in (line.split() for line in lock.read_text().splitlines() if line.strip())}
    present = {p.name for p in libs.iterdir()}
    for name in sorted(pinned.keys() | present):
        expected, digest = pinned.get(name, "no such jar"), found(libs / name)
        if digest != expected:
            raise MirrorError(
                artefact,
                f"jar {name} is not the one in {lock.name}",
                expected=expected if name not in pinned else f"sha256 {expected}",
                found=digest if digest == MISSING else f"sha256 {digest}",
                mend="delete it from the local Maven repository (~/.m2/repository) and run fill again",
            )
