"""Bit length of an integer as one machine instruction, for compiled code."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _bit_length(typing_context, x):  # type: ignore[no-untyped-def]
    """64 - leading zeros; x must be above 0."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        zeros = builder.ctlz(args[0], cgutils.true_bit)
        return builder.sub(ir.Constant(ir.IntType(64), 64), zeros)

    return types.int64(types.int64), codegen


bit_length: Any = intrinsic(_bit_length)
