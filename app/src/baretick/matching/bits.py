"""Three-floor bitmaps over a symbol's ticks: set, clear, and the nearest occupied tick at or beyond a price.

Three loads at most find the next level, however far it is: no scan over empty ticks.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from baretick.matching.arena import LOG_TICKS, NO_ASK, NO_BID, TICKS

assert LOG_TICKS <= 18, "three floors of 64 bits reach 2**18 ticks"

WORDS0 = TICKS >> 6
WORDS1 = TICKS >> 12
ONE = np.uint64(1)
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)


def _trailing_zeros(typing_context, x):  # type: ignore[no-untyped-def]
    """Index of the lowest set bit; x must not be 0."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.cttz(args[0], cgutils.true_bit)

    return types.int64(types.uint64), codegen


def _leading_zeros(typing_context, x):  # type: ignore[no-untyped-def]
    """63 - index of the highest set bit; x must not be 0."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.ctlz(args[0], cgutils.true_bit)

    return types.int64(types.uint64), codegen


def _cycles(typing_context):  # type: ignore[no-untyped-def]
    """The CPU's time stamp counter."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.IntType(64), [])
        counter = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, kind, "llvm.readcyclecounter"
        )
        return builder.call(counter, [])

    return types.int64(), codegen


trailing_zeros: Any = intrinsic(_trailing_zeros)
leading_zeros: Any = intrinsic(_leading_zeros)
cycles: Any = intrinsic(_cycles)


@njit(nogil=True, cache=True, forceinline=True)
def set_bit(v, sym, p):  # type: ignore[no-untyped-def]
    i = sym * WORDS0 + (p >> 6)
    word = v.b0[i]
    v.b0[i] = word | (ONE << np.uint64(p & 63))
    if word == 0:
        i = sym * WORDS1 + (p >> 12)
        word = v.b1[i]
        v.b1[i] = word | (ONE << np.uint64((p >> 6) & 63))
        if word == 0:
            v.b2[sym] |= ONE << np.uint64(p >> 12)


@njit(nogil=True, cache=True, forceinline=True)
def clear_bit(v, sym, p):  # type: ignore[no-untyped-def]
    i = sym * WORDS0 + (p >> 6)
    word = v.b0[i] & ~(ONE << np.uint64(p & 63))
    v.b0[i] = word
    if word == 0:
        i = sym * WORDS1 + (p >> 12)
        word = v.b1[i] & ~(ONE << np.uint64((p >> 6) & 63))
        v.b1[i] = word
        if word == 0:
            v.b2[sym] &= ~(ONE << np.uint64(p >> 12))


@njit(nogil=True, cache=True)
def at_or_above(v, sym, p):  # type: ignore[no-untyped-def]
    """Lowest occupied tick >= p, NO_ASK if there is none."""
    if p >= TICKS:
        return NO_ASK
    a = p >> 6
    word = v.b0[sym * WORDS0 + a] & (FULL << np.uint64(p & 63))
    if word != 0:
        return (a << 6) + trailing_zeros(word)
    a += 1
    if a >= WORDS0:
        return NO_ASK
    c = a >> 6
    word = v.b1[sym * WORDS1 + c] & (FULL << np.uint64(a & 63))
    if word == 0:
        c += 1
        if c >= WORDS1:
            return NO_ASK
        word = v.b2[sym] & (FULL << np.uint64(c))
        if word == 0:
            return NO_ASK
        c = trailing_zeros(word)
        word = v.b1[sym * WORDS1 + c]
    a = (c << 6) + trailing_zeros(word)
    return (a << 6) + trailing_zeros(v.b0[sym * WORDS0 + a])


@njit(nogil=True, cache=True)
def at_or_below(v, sym, p):  # type: ignore[no-untyped-def]
    """Highest occupied tick <= p, NO_BID if there is none."""
    if p < 0:
        return NO_BID
    a = p >> 6
    word = v.b0[sym * WORDS0 + a] & (FULL >> np.uint64(63 - (p & 63)))
    if word != 0:
        return (a << 6) + 63 - leading_zeros(word)
    a -= 1
    if a < 0:
        return NO_BID
    c = a >> 6
    word = v.b1[sym * WORDS1 + c] & (FULL >> np.uint64(63 - (a & 63)))
    if word == 0:
        c -= 1
        if c < 0:
            return NO_BID
        word = v.b2[sym] & (FULL >> np.uint64(63 - c))
        if word == 0:
            return NO_BID
        c = 63 - leading_zeros(word)
        word = v.b1[sym * WORDS1 + c]
    a = (c << 6) + 63 - leading_zeros(word)
    return (a << 6) + 63 - leading_zeros(v.b0[sym * WORDS0 + a])
