"""The way to packages: a squid that caches what this machine's own apt mirrors hold, and reaches nothing else."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from infra.emulator.errors import EmulatorError

# As Debian's package has them.
USER = "proxy"
SPOOL = Path("/var/spool/squid")
LOG_DIR = Path("/var/log/squid")
CACHE_MB = 8192
OBJECT_MB = 1024

TEMPLATE = """\
# Written by the emulator at every start.
http_port 127.0.0.1:{port}
cache_effective_user {user}
pid_filename none
visible_hostname {name}
acl mirrors dstdomain {hosts}
acl plain port 80 443
acl reading method GET HEAD
{tunnels}http_access allow reading mirrors plain
http_access deny all
cache_dir ufs {spool} {cache_mb} 16 256
maximum_object_size {object_mb} MB
cache_mem 32 MB
maximum_object_size_in_memory 1 MB
# A package never changes under its name; lists are asked for again each time.
refresh_pattern -i \\.u?deb$ 525600 100% 525600 ignore-reload override-expire
refresh_pattern /by-hash/ 525600 100% 525600
refresh_pattern . 0 0% 0
quick_abort_min -1 KB
shutdown_lifetime 1 seconds
access_log stdio:{log_dir}/squid-access.log
cache_log {log_dir}/squid-cache.log
cache_store_log none
logfile_rotate 1
coredump_dir {spool}
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


def config(name: str, port: int, hosts: dict[str, bool]) -> str:
    """`hosts`: names of mirrors, and whether they are spoken to by https."""
    secure = sorted(host for host, tunnelled in hosts.items() if tunnelled)
    return TEMPLATE.format(
        port=port,
        user=USER,
        name=f"bt-{name}",
        hosts=" ".join(sorted(hosts)),
        tunnels=TUNNELS.format(hosts=" ".join(secure)) if secure else "",
        spool=SPOOL,
        log_dir=LOG_DIR,
        cache_mb=CACHE_MB,
        object_mb=OBJECT_MB,
    )


def prepare(name: str, port: int, hosts: dict[str, bool], cache: Path, logs: Path) -> list[str]:
    """Write the configuration, make the cache's folders, and return the command that runs it."""
    program = shutil.which("squid")
    if program is None:
        raise EmulatorError("squid is not installed, and hosts get their packages through it: apt-get install squid")
    if not SPOOL.is_dir() or not LOG_DIR.is_dir():
        raise EmulatorError(
            f"{SPOOL} and {LOG_DIR} of Debian's squid package are missing: apt-get install --reinstall squid"
        )
    try:
        owner = pwd.getpwnam(USER)
    except KeyError:
        raise EmulatorError(f"no user {USER!r}, which squid runs as on Debian: apt-get install base-passwd") from None
    for folder in (cache, logs):
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    file = logs.parent / "squid.conf"
    file.write_text(config(name, port, hosts))
    # A new cache gets its folders; where there is one, squid need only agree with its configuration.
    options = ["-k", "parse"] if (cache / "00").is_dir() else ["-N", "-z"]
    made = subprocess.run(
        _in_own_folders(program, cache, logs, "-f", str(file), *options), capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise EmulatorError(f"squid does not take its configuration {file}: {made.stderr.strip()[-600:]}")
    return _in_own_folders(program, cache, logs, "-f", str(file), "-N")


def _in_own_folders(program: str, cache: Path, logs: Path, *options: str) -> list[str]:
    """The command in mounts of its own, where the package's folders and the shared memory are the instance's.

    squid runs as a user of its own, who may not enter root's home, where the cache is. The mounts go with the process.
    """
    script = 'mount --bind "$1" "$2" && mount --bind "$3" "$4" && mount -t tmpfs shm /dev/shm && shift 4 && exec "$@"'
    folders = [str(cache), str(SPOOL), str(logs), str(LOG_DIR)]
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *folders, program, *options]
