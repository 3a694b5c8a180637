"""Three-floor bitmaps over a side's window: set, clear, and the nearest occupied index at or beyond one.

The window is circular, so a search that reaches its end goes on at the other. Three loads at most find the next
level, however far it is: no scan over empty ticks.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from baretick.matching.layout import BITS0, BITS1, BITS2, WINDOW_MASK
from baretick.memory import compiled, inline, leading_zeros, load64, shift_right, store64, trailing_zeros

WORDS1 = (WINDOW_MASK + 1) >> 12


@inline
def set_bit(bits, i):
    at = BITS0 + ((i >> 6) << 3)
    word = load64(bits, at)
    store64(bits, at, word | (1 << (i & 63)))
    if word == 0:
        at = BITS1 + ((i >> 12) << 3)
        word = load64(bits, at)
        store64(bits, at, word | (1 << ((i >> 6) & 63)))
        if word == 0:
            store64(bits, BITS2, load64(bits, BITS2) | (1 << (i >> 12)))


@inline
def clear_bit(bits, i):
    at = BITS0 + ((i >> 6) << 3)
    word = load64(bits, at) & ~(1 << (i & 63))
    store64(bits, at, word)
    if word == 0:
        at = BITS1 + ((i >> 12) << 3)
        word = load64(bits, at) & ~(1 << ((i >> 6) & 63))
        store64(bits, at, word)
        if word == 0:
            store64(bits, BITS2, load64(bits, BITS2) & ~(1 << (i >> 12)))


@compiled
def _up_far(bits, i):
    """As `up`, when index i's own word has nothing at or above it."""
    a = i >> 6
    c = a >> 6
    # Bits of floor 1 above word a; a shift by 64 does not exist, so in two steps.
    word = load64(bits, BITS1 + (c << 3)) & ((-1 << (a & 63)) << 1)
    if word == 0:
        top = load64(bits, BITS2)
        if top == 0:
            return -1
        above = top & ((-1 << c) << 1)
        c = trailing_zeros(above if above != 0 else top)
        word = load64(bits, BITS1 + (c << 3))
    a = (c << 6) + trailing_zeros(word)
    return (a << 6) + trailing_zeros(load64(bits, BITS0 + (a << 3)))


@compiled
def _down_far(bits, i):
    """As `down`, when index i's own word has nothing at or below it."""
    a = i >> 6
    c = a >> 6
    word = load64(bits, BITS1 + (c << 3)) & ((1 << (a & 63)) - 1)
    if word == 0:
        top = load64(bits, BITS2)
        if top == 0:
            return -1
        below = top & ((1 << c) - 1)
        c = 63 - leading_zeros(below if below != 0 else top)
        word = load64(bits, BITS1 + (c << 3))
    a = (c << 6) + 63 - leading_zeros(word)
    return (a << 6) + 63 - leading_zeros(load64(bits, BITS0 + (a << 3)))


@inline
def up(bits, i):
    """The first occupied index from i upwards, round the end if need be; -1 if the window is empty."""
    word = load64(bits, BITS0 + ((i >> 6) << 3)) & (-1 << (i & 63))
    if word != 0:
        return (i & ~63) + trailing_zeros(word)
    return _up_far(bits, i)


@inline
def down(bits, i):
    """The first occupied index from i downwards, round the end if need be; -1 if the window is empty."""
    word = load64(bits, BITS0 + ((i >> 6) << 3)) & shift_right(-1, 63 - (i & 63))
    if word != 0:
        return (i & ~63) + 63 - leading_zeros(word)
    return _down_far(bits, i)
