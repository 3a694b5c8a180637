"""Timestamps for hot paths: the CPU's time stamp counter, read in compiled code and calibrated against the clock.

    calibration = calibrate()                # once at start, 20 ms
    t0 = ticks(); work(); t1 = ticks()       # inside @njit, no call into the kernel, no lock, no allocation
    calibration.ns(t1 - t0)                  # nanoseconds

`ticks` is RDTSC where the kernel says that the counter is invariant (one rate in every power state, on every core):
about 8 ns a read here. Elsewhere it is clock_gettime(CLOCK_MONOTONIC) in nanoseconds, about 25 ns a read; SOURCE says
which. RDTSC does not wait for earlier instructions, so single operations of a few nanoseconds blur into their
neighbours; `ticks_ordered` fences (LFENCE; Intel SDM vol. 2B, RDTSC) and costs about as much again. Sums are right
either way.
"""

import platform
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

CLOCK_REALTIME: Final = 0
CLOCK_MONOTONIC: Final = 1
_I64: Any = ir.IntType(64)


def invariant_tsc(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the time stamp counter runs at one rate and never stops, as the kernel reports it."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        text = cpuinfo.read_text()
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return {"constant_tsc", "nonstop_tsc"} <= set(flags)


def _clock_ns(typing_context, clock):  # type: ignore[no-untyped-def]
    """clock_gettime in nanoseconds, without the interpreter."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        timespec = cgutils.alloca_once(  # type: ignore[no-untyped-call]
            builder, ir.LiteralStructType([_I64, _I64])
        )
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, ir.FunctionType(ir.IntType(32), [ir.IntType(32), timespec.type]), "clock_gettime"
        )
        builder.call(function, [builder.trunc(args[0], ir.IntType(32)), timespec])
        read = builder.load(timespec)
        seconds = builder.mul(builder.extract_value(read, 0), ir.Constant(_I64, 1_000_000_000))
        return builder.add(seconds, builder.extract_value(read, 1))

    return types.int64(types.int64), codegen


def _rdtsc(typing_context):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        counter = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, ir.FunctionType(_I64, []), "llvm.readcyclecounter"
        )
        return builder.call(counter, [])

    return types.int64(), codegen


def _rdtsc_ordered(typing_context):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        read = "lfence\n\trdtsc\n\tshl $$32, %rdx\n\tor %rdx, %rax\n\tlfence"
        clobbers = "={rax},~{rdx},~{memory},~{dirflag},~{fpsr},~{flags}"
        return builder.asm(ir.FunctionType(_I64, []), read, clobbers, [], True)

    return types.int64(), codegen


binding.initialize_native_asmparser()  # the fenced read is inline assembly
clock_ns: Any = intrinsic(_clock_ns)


@njit(nogil=True, forceinline=True)
def _monotonic():  # type: ignore[no-untyped-def]
    return clock_ns(CLOCK_MONOTONIC)


SOURCE: Final = "tsc" if invariant_tsc() else "clock_gettime"
ticks: Any = intrinsic(_rdtsc) if SOURCE == "tsc" else _monotonic
"""Ticks of the fastest trustworthy counter, for use inside compiled code."""
ticks_ordered: Any = intrinsic(_rdtsc_ordered) if SOURCE == "tsc" else _monotonic
"""As `ticks`, after all earlier instructions and before all later ones."""


@njit(nogil=True, cache=True)
def read_ticks():  # type: ignore[no-untyped-def]
    """`ticks` for callers in Python."""
    return ticks()


@njit(nogil=True, cache=True)
def _bracket(out):  # type: ignore[no-untyped-def]
    """The narrowest of 64 reads (ticks, monotonic ns, real ns, width in ticks): preemption widens a read."""
    out[3] = np.int64(1) << 62
    for _ in range(64):
        before = ticks_ordered()
        mono = clock_ns(CLOCK_MONOTONIC)
        after = ticks_ordered()
        if after - before < out[3]:
            out[0], out[1], out[2], out[3] = (before + after) >> 1, mono, clock_ns(CLOCK_REALTIME), after - before


@njit(nogil=True, cache=True)
def _spin_until(mono_ns):  # type: ignore[no-untyped-def]
    while clock_ns(CLOCK_MONOTONIC) < mono_ns:
        pass


class Calibration(NamedTuple):
    """How ticks become nanoseconds, as measured at start."""

    source: str
    ns_per_tick: float
    base_ticks: int
    base_mono_ns: int
    base_epoch_ns: int
    uncertainty_ppm: float
    """How wrong `ns_per_tick` can be: the width of the two readings over the time between them."""

    def ns(self, ticks: float) -> float:
        """A duration in ticks as nanoseconds."""
        return ticks * self.ns_per_tick

    def ticks_of(self, ns: float) -> int:
        """A duration in nanoseconds as ticks."""
        return round(ns / self.ns_per_tick)

    def epoch_ns(self, at: int) -> int:
        """The instant of a reading as nanoseconds since 1970; drifts by `uncertainty_ppm`, so calibrate anew hourly."""
        return self.base_epoch_ns + round((at - self.base_ticks) * self.ns_per_tick)


def calibrate(seconds: float = 0.02) -> Calibration:
    """Measure the counter's rate against CLOCK_MONOTONIC; holds a core for `seconds`. ValueError if that is <= 0."""
    if not seconds > 0:
        raise ValueError(f"seconds={seconds}: calibration needs some time, 0.02 is plenty")
    first, last = np.zeros(4, np.int64), np.zeros(4, np.int64)
    _bracket(first)
    _spin_until(first[1] + int(seconds * 1e9))
    _bracket(last)
    span_ticks, span_ns = int(last[0] - first[0]), int(last[1] - first[1])
    rate = 1.0 if SOURCE == "clock_gettime" else span_ns / span_ticks
    width = float(first[3] + last[3]) / 2
    return Calibration(SOURCE, rate, int(last[0]), int(last[1]), int(last[2]), width / span_ticks * 1e6)
