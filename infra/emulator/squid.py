"""The way to packages: a squid that caches what this machine's own apt mirrors hold, and reaches nothing else."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from infra.emulator.errors import EmulatorError

CACHE_MB = 8192
OBJECT_MB = 1024

TEMPLATE = """\
# Written by the emulator at every start.
http_port 127.0.0.1:{port}
# Who runs the emulator owns the cache, and no other user may enter that folder.
cache_effective_user {user}
pid_filename none
visible_hostname {name}
acl mirrors dstdomain {hosts}
acl plain port 80 443
acl reading method GET HEAD
{tunnels}http_access allow reading mirrors plain
http_access deny all
cache_dir ufs {cache} {cache_mb} 16 256
maximum_object_size {object_mb} MB
cache_mem 32 MB
maximum_object_size_in_memory 1 MB
# A package never changes under its name; lists are asked for again each time.
refresh_pattern -i \\.u?deb$ 525600 100% 525600 ignore-reload override-expire
refresh_pattern /by-hash/ 525600 100% 525600
refresh_pattern . 0 0% 0
quick_abort_min -1 KB
shutdown_lifetime 1 seconds
access_log stdio:{logs}/squid-access.log
cache_log {logs}/squid-cache.log
cache_store_log none
logfile_rotate 1
coredump_dir {logs}
pinger_enable off
forwarded_for delete
via off
"""

# Mirrors spoken to by https can only be tunnelled to: squid sees the name and nothing else.
TUNNELS = """\
acl secure_mirrors dstdomain {hosts}
acl tunnel method CONNECT
acl https port 443
http_access allow tunnel secure_mirrors https
"""


def config(name: str, port: int, hosts: dict[str, bool], cache: Path, logs: Path) -> str:
    """`hosts`: names of mirrors, and whether they are spoken to by https."""
    secure = sorted(host for host, tunnelled in hosts.items() if tunnelled)
    return TEMPLATE.format(
        port=port,
        user=pwd.getpwuid(os.geteuid()).pw_name,
        name=f"bt-{name}",
        hosts=" ".join(sorted(hosts)),
        tunnels=TUNNELS.format(hosts=" ".join(secure)) if secure else "",
        cache=cache,
        cache_mb=CACHE_MB,
        object_mb=OBJECT_MB,
        logs=logs,
    )


def prepare(name: str, port: int, hosts: dict[str, bool], cache: Path, logs: Path) -> list[str]:
    """Write the configuration, make the cache's folders, and return the command that runs it."""
    program = shutil.which("squid")
    if program is None:
        raise EmulatorError("squid is not installed, and hosts get their packages through it: apt-get install squid")
    cache.mkdir(parents=True, exist_ok=True)
    logs.mkdir(parents=True, exist_ok=True)
    file = logs.parent / "squid.conf"
    file.write_text(config(name, port, hosts, cache, logs))
    made = subprocess.run([program, "-f", str(file), "-N", "-z"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise EmulatorError(f"squid does not take its configuration {file}: {made.stderr.strip()[-600:]}")
    return [program, "-f", str(file), "-N"]
