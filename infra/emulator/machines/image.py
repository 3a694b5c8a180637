"""Base images: a Debian root tree made once by mmdebstrap, named by the hash of all that went into it."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from infra.emulator.apt import Source, machine_options, sources_for
from infra.emulator.errors import EmulatorError
from infra.emulator.machines import image_files
from infra.emulator.process import die_along

# Bumped when the way of building changes in a way that the inputs below do not show.
RECIPE = 1
PACKAGES = (
    "ca-certificates",
    "cloud-init",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "libpam-systemd",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# Manuals and translations would double the size of a tree that nobody reads in.
DROPPED = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*", "/usr/share/info/*")
KEPT = ("/usr/share/locale/locale.alias", "/usr/share/doc/*/copyright")

Progress = Callable[[str], None]


def ensure(images: Path, suite: str, progress: Progress) -> Path:
    """The tree, built if it is not there. Two builders at once: the second waits, then finds it done."""
    sources = sources_for(suite)
    home = images / _digest(suite, sources)
    if (home / "rootfs").is_dir():
        return home / "rootfs"
    if shutil.which("mmdebstrap") is None:
        raise EmulatorError(
            "mmdebstrap is not installed, and the base image is made with it: apt-get install mmdebstrap"
        )
    images.mkdir(parents=True, exist_ok=True)
    with (images / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "rootfs").is_dir():
            for leftover in images.glob("*.partial"):
                shutil.rmtree(leftover, ignore_errors=True)
            _build(home, suite, sources, progress)
    return home / "rootfs"


def _digest(suite: str, sources: list[Source]) -> str:
    recipe = [RECIPE, suite, PACKAGES, DROPPED, KEPT, [s.line for s in sources], machine_options()]
    files = {str(name): text for name, text in image_files.FILES.items()}
    parts = [recipe, files, sorted(image_files.MASKED), sorted(image_files.EMPTIED)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _build(home: Path, suite: str, sources: list[Source], progress: Progress) -> None:
    # Of this builder alone: one that was killed may have left a child that still writes into its own.
    scratch = home.with_name(f"{home.name}.{os.getpid()}.partial")
    scratch.mkdir()
    root, log = scratch / "rootfs", scratch / "build.log"
    # 0711: services inside run as other users, and reach their files through this folder.
    scratch.chmod(0o711)
    options = [f"--aptopt={option}" for option in machine_options()]
    options += [f"--dpkgopt=path-exclude={pattern}" for pattern in DROPPED]
    options += [f"--dpkgopt=path-include={pattern}" for pattern in KEPT]
    # In mounts of its own, so that /proc and /sys of the tree are gone with it, however it ends.
    argv = ["unshare", "--mount", "--propagation", "private", "mmdebstrap"]
    argv += ["--variant=minbase", "--mode=root", "--format=directory", *options]
    argv += [f"--include={','.join(PACKAGES)}", suite, str(root), *(s.line for s in sources)]
    started = time.monotonic()
    with log.open("wb") as out:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=die_along)
        try:
            while child.poll() is None:
                progress(f"building the Debian {suite} base image, once ({time.monotonic() - started:.0f} s)")
                try:
                    child.wait(10)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            child.terminate()
            child.wait()
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    if child.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        raise EmulatorError(f"mmdebstrap could not build the {suite} image (exit {child.returncode}):\n{tail}")
    _finish(root, sources)
    scratch.rename(home)
    progress(f"built the Debian {suite} base image in {time.monotonic() - started:.0f} s")


def _finish(root: Path, sources: list[Source]) -> None:
    for name, text in image_files.FILES.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    options = "".join(f"{option}\n" for option in machine_options())
    (root / "etc/apt/apt.conf.d/80-site").write_text("// As on the machine that this image was made on.\n" + options)
    if any(s.url.startswith("https:") for s in sources):
        # The mirror may be known here by a certificate of the site's own.
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")
    units = root / "etc/systemd/system"
    for unit in image_files.MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "systemd-networkd.service").unlink(missing_ok=True)
    (wants / "systemd-networkd.service").symlink_to("/usr/lib/systemd/system/systemd-networkd.service")
    for name in image_files.EMPTIED:
        (root / name).unlink(missing_ok=True)
        (root / name).write_text("")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # every host gets its own; one in the image would be everybody's
    # Otherwise Ansible's apt cache_valid_time takes the empty package lists for fresh ones.
    os.utime(root / "var/lib/apt/lists", (0, 0))
    for marker in ("etc/.updated", "var/.updated"):
        (root / marker).touch()  # newer than /usr: no unit waits to bring caches up to date at first boot
