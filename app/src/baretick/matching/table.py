"""Order id to slot: open addressing with linear probing, backward-shift deletion, no tombstones.

An entry is one word: 32 tag bits over 32 slot bits, 0 when empty. The tag keeps the id's low three bits, so
ids given out in sequence share a cache line, and mixes all others, so structured ids do not cluster. The table
has at least twice as many entries as the book has orders: a probe always ends at an empty entry.
"""

import numpy as np
from numba import njit

SLOT_MASK = 0xFFFFFFFF
MIX = np.uint64(0x9E3779B97F4A7C15)


@njit(nogil=True, cache=True, forceinline=True)
def tag_of(order_id):  # type: ignore[no-untyped-def]
    mixed = (np.uint64(order_id) >> np.uint64(3)) * MIX
    return np.int64(((mixed >> np.uint64(35)) << np.uint64(3)) | (np.uint64(order_id) & np.uint64(7)))


@njit(nogil=True, cache=True, forceinline=True)
def entry_tag(entry):  # type: ignore[no-untyped-def]
    return np.int64(np.uint64(entry) >> np.uint64(32))


@njit(nogil=True, cache=True, forceinline=True)
def find(v, order_id):  # type: ignore[no-untyped-def]
    """Index of the id's entry, or -1 - (index of the empty entry where it would go)."""
    mask = v.table.shape[0] - 1
    tag = tag_of(order_id)
    i = tag & mask
    while True:
        entry = v.table[i]
        if entry == 0:
            return -1 - i
        if entry_tag(entry) == tag and v.orders[entry & SLOT_MASK, 2] == order_id:
            return i
        i = (i + 1) & mask


@njit(nogil=True, cache=True, forceinline=True)
def put(v, i, order_id, slot):  # type: ignore[no-untyped-def]
    """Write the entry at the empty index that `find` named."""
    v.table[i] = (tag_of(order_id) << 32) | slot


@njit(nogil=True, cache=True)
def remove(v, i):  # type: ignore[no-untyped-def]
    """Empty the entry at i and close the hole, so that probes need no tombstones."""
    mask = v.table.shape[0] - 1
    j = i
    while True:
        j = (j + 1) & mask
        entry = v.table[j]
        if entry == 0:
            break
        home = entry_tag(entry) & mask
        if ((j - home) & mask) >= ((j - i) & mask):
            v.table[i] = entry
            i = j
    v.table[i] = 0
