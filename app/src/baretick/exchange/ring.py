"""A ring of 64-byte records between one producer and one consumer, in memory that threads or processes share.

    memory = place.take(ring.size_of(4096)); ring.create(memory, 4096, wake_fd)
    offer(memory, records)      # producer: all of them or none; wakes the consumer if it sleeps
    take(memory, out)           # consumer

Positions only grow; a record's slot is its position modulo the capacity. The producer alone writes HEAD, the consumer
alone TAIL, each in a cache line of its own (two, since processors fetch lines in pairs). A record is written, then
HEAD released; the consumer acquires HEAD, then reads: so it never sees half a record. TAIL goes back the same way, so
that no slot is overwritten while it is read. Each side keeps what it last saw of the other's position and looks again
only when that does not suffice.

A consumer that sleeps waits on an eventfd. It says so in SLEEPS, then looks once more; the producer moves HEAD, then
looks at SLEEPS. With a fence between the two on either side, at least one of them sees the other.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from typing import Final

import numpy as np

from baretick.exchange.machine import acquire64, fence, release64, sys_poll, sys_read, sys_write
from baretick.matching.records import RECORD_BYTES, RECORD_WORDS, Words
from baretick.memory import address, compiled, inline, load64, store64

MAGIC: Final = 0x474E495254425442  # "BTBTRING"
R_MAGIC, R_CAPACITY, R_WAKE_FD = 0, 8, 16
R_HEAD, R_TAIL_SEEN, R_TOKEN = 128, 136, 144
"""Producer's lines: its position, what it saw of TAIL, the 8 bytes that it writes to the eventfd."""
R_TAIL, R_HEAD_SEEN, R_TAKEN, R_TRASH = 256, 264, 272, 280
"""Consumer's lines: its position as the producer sees it, what it saw of HEAD, how far it has read."""
R_SLEEPS: Final = 384
HEADER_BYTES: Final = 512
STAMPS: Final = HEADER_BYTES
"""One word a slot, for the producer to say when it put the record there."""


def size_of(capacity: int) -> int:
    """Bytes of a ring of `capacity` records; ValueError unless that is a power of two, 16 or more."""
    if capacity < 16 or capacity & (capacity - 1):
        raise ValueError(f"capacity={capacity}: a ring has a power of two of slots, 16 or more")
    return HEADER_BYTES + capacity * (8 + RECORD_BYTES)


def _check(memory: Words, capacity: int) -> None:
    size = size_of(capacity)
    if memory.nbytes < size:
        raise ValueError(f"a ring of {capacity} records takes {size} bytes, the memory has {memory.nbytes}")


def create(memory: Words, capacity: int, wake_fd: int = -1) -> Words:
    """Make an empty ring in zeroed memory (int64) of `size_of(capacity)` bytes; an eventfd wakes its consumer."""
    if memory.nbytes < size_of(capacity):
        raise ValueError(
            f"a ring of {capacity} records takes {size_of(capacity)} bytes, the memory has {memory.nbytes}"
        )
    memory[R_CAPACITY // 8], memory[R_WAKE_FD // 8], memory[R_TOKEN // 8] = capacity, wake_fd, 1
    memory[R_MAGIC // 8] = MAGIC
    return memory


def attach(memory: Words) -> Words:
    """A ring that another process has made; ValueError if there is none in this memory."""
    if memory.nbytes < HEADER_BYTES or int(memory[R_MAGIC // 8]) != MAGIC:
        raise ValueError("there is no ring in this memory: it does not begin with its magic number")
    capacity = int(memory[R_CAPACITY // 8])
    if memory.nbytes < size_of(capacity):
        raise ValueError(
            f"a ring of {capacity} records takes {size_of(capacity)} bytes, the memory has {memory.nbytes}"
        )
    return memory


@inline
def slot(r, position):
    """Address of a position's record in the ring at address r."""
    capacity = load64(r, R_CAPACITY)
    return r + STAMPS + capacity * 8 + (position & (capacity - 1)) * RECORD_BYTES


@inline
def stamp(r, position):
    """Address of a position's stamp."""
    return r + STAMPS + (position & (load64(r, R_CAPACITY) - 1)) * 8


@inline
def room(r, wanted):
    """Producer: free slots, which may be more when it is less than `wanted` that counts."""
    head, capacity = load64(r, R_HEAD), load64(r, R_CAPACITY)
    free = capacity - (head - load64(r, R_TAIL_SEEN))
    if free < wanted:
        store64(r, R_TAIL_SEEN, acquire64(r, R_TAIL))
        free = capacity - (head - load64(r, R_TAIL_SEEN))
    return free


@inline
def ready(r, position):
    """Consumer: records that can be read from a position on."""
    n = load64(r, R_HEAD_SEEN) - position
    if n <= 0:
        store64(r, R_HEAD_SEEN, acquire64(r, R_HEAD))
        n = load64(r, R_HEAD_SEEN) - position
    return n


@inline
def publish(r, head):
    """Producer: show all records before `head`, and wake the consumer if it sleeps."""
    release64(r, R_HEAD, head)
    wake(r)


@inline
def wake(r):
    """Wake the consumer if it sleeps."""
    fence()
    if acquire64(r, R_SLEEPS) != 0:
        release64(r, R_SLEEPS, 0)
        sys_write(load64(r, R_WAKE_FD), r + R_TOKEN, 8)


@inline
def lie_down(r):
    """Consumer: say that it is about to sleep. It must look once more for whatever it waits for before it does."""
    release64(r, R_SLEEPS, 1)
    fence()


@inline
def doze(r, timeout_ms):
    """Consumer: sleep until someone wakes it, or time is up."""
    if sys_poll(load64(r, R_WAKE_FD), timeout_ms) > 0:
        sys_read(load64(r, R_WAKE_FD), r + R_TRASH, 8)


@inline
def get_up(r):
    """Consumer: it no longer needs to be woken."""
    release64(r, R_SLEEPS, 0)


@inline
def copy(to, source):
    """One record from address to address."""
    for k in range(0, RECORD_BYTES, 8):
        store64(to, k, load64(source, k))


@compiled
def offer(memory, records, now):
    """Producer: put all records (rows of 8 words) in, stamped `now`; the head after them, or -1 if there is no room."""
    r, source, n = address(memory), address(records), records.shape[0]
    if room(r, n) < n:
        return -1
    head = load64(r, R_HEAD)
    for i in range(n):
        copy(slot(r, head + i), source + i * RECORD_BYTES)
        store64(stamp(r, head + i), 0, now)
    publish(r, head + n)
    return head + n


@compiled
def take(memory, out):
    """Consumer: move up to `len(out)` records out; how many."""
    r, to = address(memory), address(out)
    tail = load64(r, R_TAIL)
    n = min(ready(r, tail), out.shape[0])
    for i in range(n):
        copy(to + i * RECORD_BYTES, slot(r, tail + i))
    release64(r, R_TAIL, tail + n)
    return n


@compiled
def wait(memory, timeout_ms):
    """Consumer: sleep until there is something to take, or time is up."""
    r = address(memory)
    lie_down(r)
    if acquire64(r, R_HEAD) == load64(r, R_TAIL):
        doze(r, timeout_ms)
    get_up(r)


@compiled
def rouse(memory):
    """Wake the consumer if it sleeps, for another reason than a record."""
    wake(address(memory))


@compiled
def position(memory, field):
    """R_HEAD or R_TAIL as another thread sees it."""
    return acquire64(address(memory), field)


def records(n: int) -> Words:
    """Space for `n` records."""
    return np.zeros((n, RECORD_WORDS), np.int64)
