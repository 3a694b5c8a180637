"""Where memory lies: hugepages, NUMA node, every page made before the first command.

What the host cannot give is done without, and a warning says what is missing and how to get it.
"""

import ctypes
import errno
import logging
import mmap
import os
import platform
from pathlib import Path
from typing import Final

import numpy as np

from baretick.matching.records import Words

log = logging.getLogger(__name__)

MAP_HUGETLB: Final = 0x40000
MPOL_BIND: Final = 2
_MBIND: Final = {"x86_64": 237, "aarch64": 235}
NODES: Final = Path("/sys/devices/system/node")
MEMINFO: Final = Path("/proc/meminfo")


def take(size: int, what: str, *, hugepages: bool = False, node: int | None = None) -> Words:
    """Zeroed shared memory of at least `size` bytes as int64, its pages made, on hugepages and a node if it can be."""
    memory = _huge(size, what) if hugepages else None
    if memory is None:
        size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        if hugepages:
            memory.madvise(mmap.MADV_HUGEPAGE)  # transparent ones, where the kernel gives them
    words = np.frombuffer(memory, np.int64)
    if node is not None:
        _bind(words, node, what)
    words[:: mmap.PAGESIZE // 8] = 0
    return words


def huge_page_bytes() -> int:
    """Size of the kernel's default hugepage, 0 if it has none."""
    return _meminfo("Hugepagesize") * 1024


def _meminfo(name: str) -> int:
    for line in MEMINFO.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


def _huge(size: int, what: str) -> mmap.mmap | None:
    page = huge_page_bytes()
    if page == 0:
        log.warning("hugepages: this kernel has none (CONFIG_HUGETLBFS): the %s lies on pages of 4 KiB", what)
        return None
    pages = -(-size // page)
    try:
        return mmap.mmap(-1, pages * page, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | MAP_HUGETLB)
    except OSError as e:
        log.warning(
            "hugepages: the %s wants %d of %d MiB, %d of %d are free (%s): it lies on pages of %d KiB; "
            "reserve more with vm.nr_hugepages",
            what, pages, page >> 20, _meminfo("HugePages_Free"), _meminfo("HugePages_Total"),
            errno.errorcode.get(e.errno or 0, str(e)), mmap.PAGESIZE >> 10,
        )  # fmt: skip
        return None


def _bind(words: Words, node: int, what: str) -> None:
    """Allow only one node's memory for these pages; they must not have been touched yet."""
    there = sorted(int(p.name.removeprefix("node")) for p in NODES.glob("node[0-9]*"))
    if node not in there:
        known = ", ".join(map(str, there)) or "none"
        log.warning("numa_node: node %d does not exist here (nodes: %s): the %s lies anywhere", node, known, what)
        return
    number = _MBIND.get(platform.machine())
    if number is None:
        log.warning("numa_node: mbind is not known for %s: the %s lies anywhere", platform.machine(), what)
        return
    mask = (ctypes.c_ulong * 16)()
    bits = 8 * ctypes.sizeof(ctypes.c_ulong)
    mask[node // bits] = 1 << (node % bits)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    arguments = [number, words.ctypes.data, words.nbytes, MPOL_BIND]
    failed = libc.syscall(
        *map(ctypes.c_long, arguments), ctypes.byref(mask), ctypes.c_long(16 * bits), ctypes.c_long(0)
    )
    if failed:
        why = os.strerror(ctypes.get_errno())
        log.warning("numa_node: mbind to node %d: %s: the %s lies anywhere", node, why, what)
