"""What is run on a host over SSH: POSIX shell, printing lines of `key<TAB>value` that are read back strictly."""

import base64
import shlex

RELEASE_FILE = "/etc/baretick-release"
WORK = "/root/baretick"
INSTALLIMAGE = "/root/.oldroot/nfs/install/installimage"
DONE = "BARETICK_INSTALLED"
HOST_KEY = "BARETICK_HOST_KEY"

FACE = f"""
printf 'hostname\\t%s\\n' "$(hostname)"
printf 'boot_id\\t%s\\n' "$(cat /proc/sys/kernel/random/boot_id)"
printf 'release\\t%s\\n' "$(. /etc/os-release && printf %s "$PRETTY_NAME")"
printf 'install_id\\t%s\\n' "$(cat {RELEASE_FILE} 2>/dev/null)"
"""

# The connection ends under it: the restart begins a second after the command has been answered.
REBOOT = "nohup sh -c 'sleep 1; systemctl reboot || reboot -f' >/dev/null 2>&1 </dev/null & exit 0"

HARDWARE = """
printf 'cpus\\t%s\\n' "$(nproc)"
printf 'memory\\t%s\\n' "$(awk '/^MemTotal:/ {print $2 * 1024}' /proc/meminfo)"
nic=$(ip -o route show default | awk '{for (i = 1; i < NF; i++) if ($i == "dev") {print $(i + 1); exit}}')
printf 'nic\\t%s\\n' "$nic"
for link in /sys/class/net/*; do printf 'link\\t%s\\n' "$(basename "$link")"; done
printf 'driver\\t%s\\n' "$(basename "$(readlink "/sys/class/net/$nic/device/driver")" 2>/dev/null)"
if command -v netplan >/dev/null && ls /etc/netplan/*.yaml >/dev/null 2>&1; then
    printf 'network\\tnetplan\\n'
elif command -v ifup >/dev/null && [ -f /etc/network/interfaces ]; then
    printf 'network\\tifupdown\\n'
else
    printf 'network\\tnetworkd\\n'
    file=$(networkctl --no-pager --lines=0 status "$nic" 2>/dev/null | sed -n 's/^ *Network File: *//p')
    printf 'network_file\\t%s\\n' "$(basename "$file")"
fi
printf 'uefi\\t%s\\n' "$([ -d /sys/firmware/efi ] && echo 1 || echo 0)"
lsblk -b -d -n -o NAME,TYPE,SIZE,ROTA,MODEL | while read -r name type size rota model; do
    [ "$type" = disk ] && printf 'disk\\t%s\\t%s\\t%s\\t%s\\n' "$name" "$size" "$rota" "$model"
done
for link in /dev/disk/by-id/*; do
    [ -e "$link" ] && printf 'id\\t%s\\t%s\\n' "$(basename "$(readlink -f "$link")")" "$(basename "$link")"
done
for wwid in /sys/block/*/wwid /sys/block/*/device/wwid; do
    [ -r "$wwid" ] && printf 'id\\t%s\\t%s\\n' "$(printf %s "$wwid" | cut -d/ -f4)" "$(cat "$wwid")"
done
exit 0
"""

# Read at the start, in the middle and near the end: 256 MiB of each, as a failing disk is slow before it is dead.
SLOWEST_HDD, SLOWEST_SSD = 20_000_000, 40_000_000


def health(disks: list[str]) -> str:
    """A line for each disk that SMART calls failed, or that reads slower than any healthy one."""
    return f"""
for disk in {shlex.join(disks)}; do
    smartctl -H "/dev/$disk" >/tmp/smart.$$ 2>&1
    # Bit 3 of the exit status: the disk says that it is failing. Disks without SMART (status 4 and 2) are no fault.
    [ $(($? & 8)) -eq 0 ] || printf 'failing\\t%s: SMART says FAILED\\n' "$disk"
    least=$([ "$(cat "/sys/block/$disk/queue/rotational")" = 1 ] && echo {SLOWEST_HDD} || echo {SLOWEST_SSD})
    began=$(date +%s%N)
    if ! dd if="/dev/$disk" of=/dev/null bs=1M count=256 iflag=direct 2>/tmp/dd.$$; then
        printf 'failing\\t%s: cannot be read: %s\\n' "$disk" "$(tail -1 /tmp/dd.$$)"
        continue
    fi
    speed=$((268435456 * 1000 / (($(date +%s%N) - began) / 1000000 + 1)))
    [ "$speed" -ge "$least" ] ||
        printf 'failing\\t%s: reads %s bytes/s, healthy ones at least %s\\n' "$disk" "$speed" "$least"
done
rm -f /tmp/smart.$$ /tmp/dd.$$
exit 0
"""


# Arrays and groups are assembled read-only: looking at what is there must change nothing of it.
FOUND = f"""
mdadm --assemble --scan --readonly >/dev/null 2>&1
vgchange -ay --sysinit >/dev/null 2>&1
disks_of() {{
    lsblk -s -n -r -o NAME,TYPE "$1" 2>/dev/null | awk '$2 == "disk" {{print $1}}' | sort -u | paste -sd, -
}}
at=$(mktemp -d)
lsblk -n -r -p -o NAME,TYPE,FSTYPE | while read -r name type fstype; do
    [ -n "$fstype" ] && [ "$type" != loop ] && [ "$type" != rom ] || continue
    what="$fstype" id="" keys=""
    case $fstype in
        swap | linux_raid_member | LVM2_member | vfat) ;;
        *)
            if mount -o ro,noload "$name" "$at" 2>/dev/null || mount -o ro "$name" "$at" 2>/dev/null; then
                if [ -r "$at/etc/os-release" ]; then
                    what="$(. "$at/etc/os-release" && printf %s "$PRETTY_NAME") ($(cat "$at/etc/hostname" 2>/dev/null))"
                    id=$(cat "$at{RELEASE_FILE}" 2>/dev/null)
                    keys=$(cat "$at"/etc/ssh/ssh_host_*_key.pub 2>/dev/null | cut -d' ' -f1,2 | paste -sd, -)
                fi
                umount "$at"
            fi
            ;;
    esac
    printf 'found\\t%s\\t%s\\t%s\\t%s\\n' "$what" "$(disks_of "$name")" "$id" "$keys"
done
rmdir "$at"
exit 0
"""


def wipe(disks: list[str]) -> str:
    """Lets go of everything that lies on these disks, and removes every signature from them and their partitions."""
    return f"""
set -e
swapoff -a
vgchange -an >/dev/null 2>&1 || true
mdadm --stop --scan >/dev/null 2>&1 || true
for disk in {shlex.join(disks)}; do
    lsblk -n -r -p -o NAME "/dev/$disk" | tac | while read -r part; do wipefs -a -f -q "$part"; done
    blkdiscard -f "/dev/$disk" >/dev/null 2>&1 || true
    blockdev --rereadpt "/dev/$disk" || true
done
udevadm settle
"""


def post_install(install_id: str, public_key: str) -> str:
    """In the new system, as installimage's last step. Its id is written last: who has it is whole."""
    return f"""#!/bin/bash
set -e
mkdir -p /root/.ssh
chmod 700 /root/.ssh
grep -qxF {shlex.quote(public_key)} /root/.ssh/authorized_keys 2>/dev/null || \\
    printf '%s\\n' {shlex.quote(public_key)} >> /root/.ssh/authorized_keys
chmod 600 /root/.ssh/authorized_keys
ssh-keygen -A
for key in /etc/ssh/ssh_host_*_key.pub; do printf '{HOST_KEY} %s\\n' "$(cut -d' ' -f1,2 "$key")"; done
sync
printf '%s\\n' {install_id} > {RELEASE_FILE}
sync
printf '{DONE} %s\\n' {install_id}
"""


def begin(install_id: str, autosetup: str, public_key: str) -> str:
    """Start installimage behind the session's back, once: the folder is made by who is first."""
    folder = f"{WORK}-{install_id}"
    files = {"autosetup": autosetup, "post-install": post_install(install_id, public_key)}
    writes = "\n".join(
        f"printf %s {base64.b64encode(text.encode()).decode()} | base64 -d > {folder}/{name}"
        for name, text in files.items()
    )
    run = (
        f"{INSTALLIMAGE} -a -c {folder}/autosetup -x {folder}/post-install > {folder}/log 2>&1; "
        f"echo $? > {folder}/exit.new; mv {folder}/exit.new {folder}/exit"
    )
    return f"""
mkdir {folder} 2>/dev/null || exit 0
{writes}
chmod 700 {folder}/post-install
export TERM=xterm
nohup setsid sh -c {shlex.quote(run)} >/dev/null 2>&1 </dev/null &
echo $! > {folder}/pid
exit 0
"""


def progress(install_id: str) -> str:
    folder = f"{WORK}-{install_id}"
    return f"""
[ -d {folder} ] || {{ printf 'state\\tnone\\n'; exit 0; }}
if [ -f {folder}/exit ]; then
    printf 'exit\\t%s\\n' "$(cat {folder}/exit)"
elif kill -0 "$(cat {folder}/pid 2>/dev/null)" 2>/dev/null; then
    printf 'state\\trunning\\n'
    exit 0
fi
grep -hE '({DONE}|{HOST_KEY}) ' {folder}/log /root/debug.txt 2>/dev/null |
    sed 's/^.*\\({DONE}\\|{HOST_KEY}\\)/line\\t\\1/' | sort -u
tail -n 5 /root/debug.txt 2>/dev/null | cut -c1-300 | sed 's/^/log\\t/'
exit 0
"""


def _write(path: str, text: str) -> str:
    # netplan wants its files to be root's alone; networkd reads its own as another user.
    mode, name = "600" if path.startswith("/etc/netplan/") else "644", shlex.quote(path)
    return f"""mkdir -p {shlex.quote(path.rpartition("/")[0])}
printf %s {base64.b64encode(text.encode()).decode()} | base64 -d > {name}.new
chmod {mode} {name}.new
mv {name}.new {name}"""


def configure(files: dict[str, str]) -> str:
    writes = "\n".join(_write(path, text) for path, text in files.items())
    return f"""
set -e
{writes}
if command -v netplan >/dev/null && ls /etc/netplan/60-vswitch.yaml >/dev/null 2>&1; then
    netplan apply
elif [ -f /etc/network/interfaces.d/60-vswitch ]; then
    link=$(awk '$1 == "auto" {{print $2}}' /etc/network/interfaces.d/60-vswitch)
    ifdown --force "$link" >/dev/null 2>&1 || true
    ifup "$link"
else
    networkctl reload
fi
"""


def crosses(address: str, mtu: int) -> str:
    # 28 bytes are the headers of IPv4 and ICMP.
    return f"ping -c 3 -i 0.3 -W 2 -M 'do' -s {mtu - 28} {shlex.quote(address)} >/dev/null"
