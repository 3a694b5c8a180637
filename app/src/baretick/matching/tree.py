"""Treaps of price levels: those outside a window, and the stop orders that wait, in order of price.

A treap is a search tree whose shape is that of random insertions, here from a hash of the price: no case of the
order flow makes it deep, and the same levels always make the same tree. Its nodes come from the arena's nodes, and a
level's queue sits inside them as it does in a window, so that queues need not know where their level lives.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from baretick.matching.layout import (
    FREE_TAG,
    H_FREE,
    H_FRESH,
    H_TREE,
    L_HEAD,
    L_QTY,
    N_NEXT,
    N_TAG,
    NODE_SHIFT,
    NODES,
    T_KEY,
    T_LEFT,
    T_LEVEL,
    T_RIGHT,
    T_ROOT,
)
from baretick.memory import add64, compiled, inline, load32, load64, shift_right, store32, store64

_MIX = 0xD1B54A32D192ED03 - (1 << 64)


@inline
def take_node(a):
    """A node from the free list, else the next never used. The caller knows that there is one."""
    x = load64(a, H_FREE)
    if x != 0:
        store64(a, H_FREE, load32(a + NODES + (x << NODE_SHIFT), N_NEXT))
        return x
    x = load64(a, H_FRESH)
    store64(a, H_FRESH, x + 1)
    return x


@inline
def give_node(a, x):
    node = a + NODES + (x << NODE_SHIFT)
    store32(node, N_NEXT, load64(a, H_FREE))
    store32(node, N_TAG, FREE_TAG)
    store64(a, H_FREE, x)


@inline
def _node(a, x):
    return a + NODES + (x << NODE_SHIFT)


@inline
def _rank(key):
    """Two keys never have the same: both steps can be undone."""
    z = key * _MIX
    return z ^ shift_right(z, 31)


@compiled
def seek(a, root, key):
    """The tree node of a level, 0 if there is none. `root` is the address of the tree's root link."""
    x = load32(root, 0)
    while x != 0:
        here = load64(_node(a, x), T_KEY)
        if here == key:
            return x
        x = load32(_node(a, x), T_LEFT if key < here else T_RIGHT)
    return 0


@compiled
def seek_or_add(a, root, key):
    """The tree node of a level, a new and empty one if there is none."""
    rank = _rank(key)
    link = root
    x = load32(link, 0)
    while x != 0:
        node = _node(a, x)
        here = load64(node, T_KEY)
        if here == key:
            return x
        if _rank(here) < rank:
            break
        link = node + (T_LEFT if key < here else T_RIGHT)
        x = load32(link, 0)
    y = take_node(a)
    new = _node(a, y)
    store32(new, N_TAG, FREE_TAG)
    store64(new, T_LEVEL + L_HEAD, 0)
    store64(new, T_LEVEL + L_QTY, 0)
    store64(new, T_KEY, key)
    store64(new, T_ROOT, root - a)
    store32(link, 0, y)
    # What hung here is cut in two along the key.
    left, right = new + T_LEFT, new + T_RIGHT
    while x != 0:
        node = _node(a, x)
        if load64(node, T_KEY) < key:
            store32(left, 0, x)
            left = node + T_RIGHT
            x = load32(left, 0)
        else:
            store32(right, 0, x)
            right = node + T_LEFT
            x = load32(right, 0)
    store32(left, 0, 0)
    store32(right, 0, 0)
    add64(a, H_TREE, 1)
    return y


@compiled
def drop(a, x):
    """Take a level's node out of its tree and give it back."""
    node = _node(a, x)
    key = load64(node, T_KEY)
    link = a + load64(node, T_ROOT)
    while load32(link, 0) != x:
        parent = _node(a, load32(link, 0))
        link = parent + (T_LEFT if key < load64(parent, T_KEY) else T_RIGHT)
    left, right = load32(node, T_LEFT), load32(node, T_RIGHT)
    while left != 0 and right != 0:
        if _rank(load64(_node(a, left), T_KEY)) > _rank(load64(_node(a, right), T_KEY)):
            store32(link, 0, left)
            link = _node(a, left) + T_RIGHT
            left = load32(link, 0)
        else:
            store32(link, 0, right)
            link = _node(a, right) + T_LEFT
            right = load32(link, 0)
    store32(link, 0, left if left != 0 else right)
    give_node(a, x)
    add64(a, H_TREE, -1)


@compiled
def first(a, root, highest):
    """The tree node with the highest or the lowest key, 0 if the tree is empty."""
    x = load32(root, 0)
    if x == 0:
        return 0
    while True:
        after = load32(_node(a, x), T_RIGHT if highest else T_LEFT)
        if after == 0:
            return x
        x = after


@compiled
def after(a, root, key, downwards):
    """The tree node with the next key below or above `key`, 0 if there is none."""
    found = 0
    x = load32(root, 0)
    while x != 0:
        here = load64(_node(a, x), T_KEY)
        if downwards:
            if here < key:
                found = x
                x = load32(_node(a, x), T_RIGHT)
            else:
                x = load32(_node(a, x), T_LEFT)
        elif here > key:
            found = x
            x = load32(_node(a, x), T_LEFT)
        else:
            x = load32(_node(a, x), T_RIGHT)
    return found
