"""Loads, stores and bit counts on raw memory, for compiled code that lays out its own memory.

An array argument costs a view and a negative-index check at every access; an address costs nothing. Nothing here
is checked: a wrong address ends the process. The callers' layouts (`matching/layout.py`, `risk/limits.py`) and the
validation of every command before the first access are what makes it safe.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.core.errors import TypingError
from numba.core.sigutils import normalize_signature
from numba.extending import intrinsic


def _sources() -> str:
    """A fingerprint of all code that is compiled into one another.

    Numba keeps compiled code until the function's own file changes, and would go on running what was inlined from
    another file before that one changed. So every function's cache is stamped with all of them.
    """
    here = Path(__file__).parent
    compiled = [f"{folder}/*.py" for folder in ("matching", "risk", "journal", "telemetry", "bench")]
    compiled += [f"exchange/{name}.py" for name in ("machine", "ring", "loop", "delivery", "entry")]
    files = [Path(__file__), *(path for pattern in compiled for path in sorted(here.glob(pattern)))]
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


_STAMP: Final = _sources()


def _stamp(function: Any) -> Any:
    file = function._cache._cache_file
    file._source_stamp = (file._source_stamp, _STAMP)
    return function


def _once(dispatcher: Any) -> Any:
    """Compile a function once for all constants that callers pass; numba would do so anew for each constant."""
    template = dispatcher.get_call_template

    def get_call_template(args: Any, kws: Any) -> Any:
        return template(tuple(map(types.unliteral, args)), {k: types.unliteral(v) for k, v in kws.items()})

    dispatcher.get_call_template = get_call_template
    return _stamp(dispatcher)


def inline(function: Any) -> Any:
    """For the small functions of the hot path: they become part of their caller."""
    return _once(njit(nogil=True, cache=True, forceinline=True, error_model="numpy")(function))


def compiled(function: Any) -> Any:
    """For everything else: one call, one copy of the code."""
    return _once(njit(nogil=True, cache=True, error_model="numpy")(function))


def machine_code(function: Any) -> Any:
    """A function of (a, c) as plain machine code at `.address`, for `call`. Keep the result: it owns the code."""
    code = CFunc(function, normalize_signature("int64(int64, int64)"), locals={}, options={"error_model": "numpy"})
    code.enable_caching()
    _stamp(code).compile()
    return code


WORD: Final = ir.IntType(64)
HALF: Final = ir.IntType(32)
_LOAD: Final = types.int64(types.int64, types.int64)
_STORE: Final = types.void(types.int64, types.int64, types.int64)
_UNARY: Final = types.int64(types.int64)


def _pointer(builder, args, width):
    return builder.inttoptr(builder.add(args[0], args[1]), width.as_pointer())


def _load64(typing_context, address, offset):
    """The 64-bit word at address + offset."""

    def codegen(context, builder, signature, args):
        return builder.load(_pointer(builder, args, WORD))

    return _LOAD, codegen


def _load32(typing_context, address, offset):
    """The signed 32-bit word at address + offset, widened."""

    def codegen(context, builder, signature, args):
        return builder.sext(builder.load(_pointer(builder, args, HALF)), WORD)

    return _LOAD, codegen


def _store64(typing_context, address, offset, value):
    def codegen(context, builder, signature, args):
        builder.store(args[2], _pointer(builder, args, WORD))
        return context.get_dummy_value()

    return _STORE, codegen


def _store32(typing_context, address, offset, value):
    """The low half of `value`."""

    def codegen(context, builder, signature, args):
        builder.store(builder.trunc(args[2], HALF), _pointer(builder, args, HALF))
        return context.get_dummy_value()

    return _STORE, codegen


def _shift_right(typing_context, x, n):
    """x >> n with zeros coming in: a shift of the bits, not of the number."""

    def codegen(context, builder, signature, args):
        return builder.lshr(args[0], args[1])

    return _LOAD, codegen


def _trailing_zeros(typing_context, x):
    """Index of the lowest set bit; x must not be 0."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], cgutils.true_bit)

    return _UNARY, codegen


def _leading_zeros(typing_context, x):
    """63 - index of the highest set bit; x must not be 0."""

    def codegen(context, builder, signature, args):
        return builder.ctlz(args[0], cgutils.true_bit)

    return _UNARY, codegen


def _address(typing_context, array):
    """Where an array's memory begins, as a signed number: numba's own is unsigned, and turns sums into floats."""
    if not isinstance(array, types.Array):
        raise TypingError(f"address() takes an array, this is {array}")

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, WORD)

    return types.int64(array), codegen


def _call(typing_context, function, a, c):
    """Call compiled code of type int64(int64, int64) at an address."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(WORD, [WORD, WORD]).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), args[1:])

    return types.int64(types.int64, types.int64, types.int64), codegen


def _prefetch(typing_context, address):
    """Ask for the cache line at an address; any address will do, a wrong one is ignored."""

    def codegen(context, builder, signature, args):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, HALF, HALF, HALF])
        hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        options = [ir.Constant(HALF, n) for n in (1, 3, 1)]  # to be written, kept in all caches, data
        builder.call(hint, [builder.inttoptr(args[0], byte), *options])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def _cycles(typing_context):
    """The CPU's time stamp counter."""

    def codegen(context, builder, signature, args):
        counter = cgutils.get_or_insert_function(builder.module, ir.FunctionType(WORD, []), "llvm.readcyclecounter")
        return builder.call(counter, [])

    return types.int64(), codegen


load64: Any = intrinsic(_load64)
load32: Any = intrinsic(_load32)
store64: Any = intrinsic(_store64)
store32: Any = intrinsic(_store32)
shift_right: Any = intrinsic(_shift_right)
trailing_zeros: Any = intrinsic(_trailing_zeros)
leading_zeros: Any = intrinsic(_leading_zeros)
address: Any = intrinsic(_address)
call: Any = intrinsic(_call)
prefetch: Any = intrinsic(_prefetch)
cycles: Any = intrinsic(_cycles)


@inline
def add64(address, offset, delta):
    store64(address, offset, load64(address, offset) + delta)
