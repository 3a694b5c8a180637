"""Where this machine's own apt gets its packages: hosts use the same mirrors, under their own suite."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from infra.emulator.errors import EmulatorError


@dataclass(frozen=True)
class Source:
    url: str
    suite: str

    @property
    def line(self) -> str:
        return f"deb {self.url} {self.suite} main"


def os_release() -> dict[str, str]:
    pairs = (line.partition("=") for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return {key: value.strip('"') for key, _, value in pairs}


@cache
def _targets() -> tuple[Source, ...]:
    if shutil.which("apt-get") is None:
        raise EmulatorError("no apt-get here: machines are made from the Debian mirrors that this system's apt uses")
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)"], capture_output=True, text=True, check=True
    )
    pairs = {tuple(line.split()) for line in listed.stdout.splitlines() if len(line.split()) == 2}
    return tuple(Source(url.rstrip("/"), suite) for url, suite in sorted(pairs))


def sources_for(suite: str) -> list[Source]:
    """This machine's Debian sources, with its own suite replaced: bookworm-security becomes trixie-security."""
    if mirror := os.environ.get("BARETICK_DEBIAN_MIRROR"):
        return [Source(mirror.rstrip("/"), suite)]
    release = os_release()
    own = release.get("VERSION_CODENAME", "")
    if release.get("ID") == "debian":
        wanted = re.compile(rf"{re.escape(own)}(-updates|-security)?")
        found = [Source(s.url, s.suite.replace(own, suite)) for s in _targets() if wanted.fullmatch(s.suite)]
        if any(s.suite == suite for s in found):
            # The suite itself first: mmdebstrap takes its essential packages from there.
            return sorted(found, key=lambda s: (s.suite != suite, s.suite, s.url))
    raise EmulatorError(
        f"apt on this system names no Debian mirror for its own release ({own or 'unknown'}): set "
        "BARETICK_DEBIAN_MIRROR to the address of a Debian archive"
    )


@cache
def machine_options() -> tuple[str, ...]:
    """This machine's own stance on the dates of package lists, which hosts that share its mirrors must share."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return tuple(
        line for line in dump.splitlines() if line.startswith(("Acquire::Check-Valid-Until", "Acquire::Check-Date"))
    )


def mirror_hosts(suite: str) -> dict[str, bool]:
    """Hosts that packages come from: those of this machine's sources and the images'; whether by https."""
    urls = [urlsplit(s.url) for s in (*_targets(), *sources_for(suite))]
    return {u.hostname: any(o.hostname == u.hostname and o.scheme == "https" for o in urls) for u in urls if u.hostname}
