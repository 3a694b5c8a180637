"""What compiled code needs of the processor and the kernel: ordered loads and stores, fences, and four system calls.

A plain load or store may be moved by LLVM, and by every processor but x86, which itself lets a load pass an earlier
store to another address. So memory that two threads share is handed over by `release` and `acquire`, which compile to
plain moves on x86 and to STLR and LDAR on aarch64, and where a store must be seen before a later load is made (someone
who goes to sleep against someone who wakes him) there is a `fence`: MFENCE or DMB ISH.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
import platform
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from baretick.memory import HALF, WORD, inline

POLLIN = 1
BYTE: Any = ir.IntType(8)
_PAUSES = {"x86_64": "pause", "AMD64": "pause", "aarch64": "yield", "arm64": "isb"}
PAUSE = _PAUSES.get(platform.machine(), "")
binding.initialize_native_asmparser()


def _at(builder, args):
    return builder.inttoptr(builder.add(args[0], args[1]), WORD.as_pointer())


def _acquire64(typing_context, address, offset):
    """The word at address + offset; no later load or store is made before it."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(_at(builder, args), "acquire", 8)

    return types.int64(types.int64, types.int64), codegen


def _release64(typing_context, address, offset, value):
    """Store a word; all earlier loads and stores are made before it."""

    def codegen(context, builder, signature, args):
        builder.store_atomic(args[2], _at(builder, args), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


def _fence(typing_context):
    """All earlier loads and stores are seen by everyone before any later one is made."""

    def codegen(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


def _pause(typing_context):
    """Tell the core that this is a spin: it saves power, and leaves its shared units to the sibling thread."""

    def codegen(context, builder, signature, args):
        if PAUSE:
            builder.asm(ir.FunctionType(ir.VoidType(), []), PAUSE, "~{memory}", [], True)
        return context.get_dummy_value()

    return types.void(), codegen


def _libc(builder, name, result, arguments):
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _errno(builder):
    place = builder.call(_libc(builder, "__errno_location", HALF.as_pointer(), []), [])
    return builder.sext(builder.load(place), WORD)


def _or_errno(builder, result):
    """A system call's result, or -errno."""
    failed = builder.icmp_signed("<", result, ir.Constant(WORD, 0))
    return builder.select(failed, builder.neg(_errno(builder)), result)


def _sys_write(typing_context, fd, address, size):
    """write(2): bytes written, or -errno."""

    def codegen(context, builder, signature, args):
        function = _libc(builder, "write", WORD, [HALF, BYTE.as_pointer(), WORD])
        data = builder.inttoptr(args[1], BYTE.as_pointer())
        return _or_errno(builder, builder.call(function, [builder.trunc(args[0], HALF), data, args[2]]))

    return types.int64(types.int64, types.int64, types.int64), codegen


def _sys_read(typing_context, fd, address, size):
    """read(2): bytes read, or -errno."""

    def codegen(context, builder, signature, args):
        function = _libc(builder, "read", WORD, [HALF, BYTE.as_pointer(), WORD])
        data = builder.inttoptr(args[1], BYTE.as_pointer())
        return _or_errno(builder, builder.call(function, [builder.trunc(args[0], HALF), data, args[2]]))

    return types.int64(types.int64, types.int64, types.int64), codegen


def _sys_fdatasync(typing_context, fd):
    """fdatasync(2): 0, or -errno."""

    def codegen(context, builder, signature, args):
        result = builder.call(_libc(builder, "fdatasync", HALF, [HALF]), [builder.trunc(args[0], HALF)])
        return _or_errno(builder, builder.sext(result, WORD))

    return types.int64(types.int64), codegen


def _sys_poll(typing_context, fd, timeout_ms):
    """poll(2) of one descriptor for reading: 1 when it can be read, 0 when time is up, or -errno."""

    def codegen(context, builder, signature, args):
        short = ir.IntType(16)
        pollfd = ir.LiteralStructType([HALF, short, short])
        place = cgutils.alloca_once(builder, pollfd)
        wanted = ir.Constant.literal_struct(
            [ir.Constant(HALF, 0), ir.Constant(ir.IntType(16), 1), ir.Constant(ir.IntType(16), 0)]
        )
        builder.store(builder.insert_value(wanted, builder.trunc(args[0], HALF), 0), place)
        function = _libc(builder, "poll", HALF, [pollfd.as_pointer(), WORD, HALF])
        result = builder.call(function, [place, ir.Constant(WORD, 1), builder.trunc(args[1], HALF)])
        return _or_errno(builder, builder.sext(result, WORD))

    return types.int64(types.int64, types.int64), codegen


acquire64: Any = intrinsic(_acquire64)
release64: Any = intrinsic(_release64)
fence: Any = intrinsic(_fence)
pause: Any = intrinsic(_pause)
sys_write: Any = intrinsic(_sys_write)
sys_read: Any = intrinsic(_sys_read)
sys_fdatasync: Any = intrinsic(_sys_fdatasync)
sys_poll: Any = intrinsic(_sys_poll)

EINTR = 4


@inline
def write_whole(fd, at, size):
    """Write all of some bytes; 0, or -errno with an unknown part written."""
    while size > 0:
        n = sys_write(fd, at, size)
        if n < 0:
            if n == -EINTR:
                continue
            return n
        at += n
        size -= n
    return 0
