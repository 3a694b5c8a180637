"""Order id to node: open addressing with linear probing, backward-shift deletion, no tombstones.

An entry is one word: a 32-bit tag over a 32-bit node, 0 when empty. The tag's top bits are the entry's home. They
are the hash of the id but for its low three bits, which are mixed in last: ids given out in sequence share a cache
line, and ids with equal low bits do not cluster. The table has at least twice as many entries as there can be open
orders, so a probe ends soon, however many orders came and went.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from baretick.matching.layout import H_O_TABLE, H_TABLE, H_TABLE_SHIFT, N_ID, NODE_SHIFT, NODES
from baretick.memory import compiled, inline, load64, shift_right, store64

NODE_BITS = 0xFFFFFFFF
MIX = 0x9E3779B97F4A7C15 - (1 << 64)


@inline
def tag_of(a, order_id):
    group = order_id >> 3
    mixed = shift_right((group ^ (group >> 29)) * MIX, 32)
    return mixed ^ ((order_id & 7) << load64(a, H_TABLE_SHIFT))


@inline
def home(a, order_id):
    """Address of the entry where a search for the id begins."""
    return a + load64(a, H_O_TABLE) + (tag_of(a, order_id) >> load64(a, H_TABLE_SHIFT) << 3)


@inline
def find(a, order_id):
    """Index of the id's entry, or -1 - (index of the empty entry where it would go)."""
    mask = load64(a, H_TABLE) - 1
    table = a + load64(a, H_O_TABLE)
    tag = tag_of(a, order_id)
    i = tag >> load64(a, H_TABLE_SHIFT)
    while True:
        entry = load64(table, i << 3)
        if entry == 0:
            return -1 - i
        same = shift_right(entry, 32) == tag
        if same and load64(a + NODES + ((entry & NODE_BITS) << NODE_SHIFT), N_ID) == order_id:
            return i
        i = (i + 1) & mask


@inline
def node_at(a, i):
    """The node that entry i leads to."""
    return load64(a + load64(a, H_O_TABLE), i << 3) & NODE_BITS


@inline
def put(a, i, order_id, node):
    """Write the entry at the empty index that `find` named."""
    store64(a + load64(a, H_O_TABLE), i << 3, (tag_of(a, order_id) << 32) | node)


@inline
def remove(a, i):
    """Empty the entry at i and close the hole, so that probes need no tombstones."""
    mask = load64(a, H_TABLE) - 1
    table = a + load64(a, H_O_TABLE)
    shift = load64(a, H_TABLE_SHIFT)
    j = i
    while True:
        j = (j + 1) & mask
        entry = load64(table, j << 3)
        if entry == 0:
            break
        home = shift_right(entry, 32) >> shift
        if ((j - home) & mask) >= ((j - i) & mask):
            store64(table, i << 3, entry)
            i = j
    store64(table, i << 3, 0)


@compiled
def find_node(a, order_id):
    """The node of an open order, 0 if the id is not open."""
    i = find(a, order_id)
    return node_at(a, i) if i >= 0 else 0


@compiled
def forget(a, order_id):
    """Take an open id out of the table."""
    remove(a, find(a, order_id))
