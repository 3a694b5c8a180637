"""CRC-32C (Castagnoli, RFC 3720 appendix B.4) in compiled code: the processor's instruction where it has it.

SSE 4.2's CRC32 takes a 64-bit word in one instruction; elsewhere a table takes a byte at a time, 10 to 20 times slower,
with the same result.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from typing import Any, Final

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from baretick.memory import compiled, inline, load64

POLYNOMIAL: Final = 0x82F63B78
START: Final = 0xFFFFFFFF
HARDWARE: Final[bool] = bool(binding.get_host_cpu_features().get("sse4.2", False))


def _table() -> np.ndarray[Any, np.dtype[np.uint32]]:
    table = np.zeros(256, np.uint32)
    for i in range(256):
        crc = i
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
        table[i] = crc
    return table


_TABLE: Final = _table()


def _crc_word(typing_context, crc, word):
    """The instruction: one 64-bit word, least significant byte first."""

    def codegen(context, builder, signature, args):
        word64 = ir.IntType(64)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(word64, [word64, word64]), "llvm.x86.sse42.crc32.64.64"
        )
        return builder.call(function, args)

    return types.int64(types.int64, types.int64), codegen


@inline
def soft_word(crc, word):
    """The same from a table, for processors without the instruction."""
    for k in range(8):
        crc = np.int64(_TABLE[(crc ^ (word >> (8 * k))) & 0xFF]) ^ (crc >> 8)
    return crc


_instruction: Any = intrinsic(_crc_word)


@inline
def _hard_word(crc, word):
    return _instruction(crc, word)


crc_word: Any = _hard_word if HARDWARE else soft_word
"""Continue a raw CRC (begin with START, finish by inverting) over one 64-bit word."""


@compiled
def crc_words(crc, address, n):
    """Continue a raw CRC over n words of memory."""
    for i in range(n):
        crc = crc_word(crc, load64(address, 8 * i))
    return crc


@compiled
def crc_of(words):
    """The finished CRC-32C of an array of int64 (contiguous)."""
    return crc_words(START, words.ctypes.data, words.size) ^ START
