"""The app's wheel: the same sources give the same file, built once for each state of app/ and kept by its digest."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.mirror.errors import MirrorError
from infra.mirror.layout import root
from infra.paths import repo_root

# Wheels are zip files, which can't say a time before 1980; a fixed one keeps the bytes the same.
_EPOCH = "315532800"


def sources(app: Path) -> list[Path]:
    """What goes into the wheel, and what decides how it is built."""
    packaged = (p for p in (app / "src").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sorted([app / "pyproject.toml", app / "README.md", *packaged])


def digest(app: Path) -> str:
    """Digest of names and contents of the sources."""
    total = hashlib.sha256()
    for file in sources(app):
        content = file.read_bytes()
        total.update(f"{file.relative_to(app).as_posix()}\0{len(content)}\0".encode())
        total.update(content)
    return total.hexdigest()[:16]


def app_wheel() -> Path:
    """Path of the wheel for the sources as they are now."""
    app = repo_root() / "app"
    keep = root() / "app" / digest(app)
    existing = sorted(keep.glob("*.whl"))
    if existing:
        return existing[0]
    keep.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=keep.parent, prefix=".building-") as scratch:
        copy = Path(scratch) / "app"
        for file in sources(app):
            target = copy / file.relative_to(app)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        out = Path(scratch) / "out"
        out.mkdir()
        _build(copy, out)
        try:
            out.rename(keep)
        except OSError:
            # Another process has just made the same wheel from the same sources.
            if not sorted(keep.glob("*.whl")):
                raise
    return next(keep.glob("*.whl"))


def _build(app: Path, out: Path) -> None:
    env = os.environ | {"SOURCE_DATE_EPOCH": _EPOCH}
    code = f"import hatchling.build; hatchling.build.build_wheel({str(out)!r})"
    built = subprocess.run([sys.executable, "-c", code], cwd=app, env=env, capture_output=True, text=True, check=False)
    if built.returncode or not sorted(out.glob("*.whl")):
        raise MirrorError(
            "app",
            "its wheel could not be built",
            found="\n            ".join((built.stderr or built.stdout).strip().splitlines()[-6:]),
            mend="correct app/pyproject.toml; if hatchling is missing, make setup",
        )
