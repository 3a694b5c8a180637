"""What a session may send: checked and passed on in one compiled call.

A frame is taken as a whole or refused as a whole, so a client never has to find out which half of it counted.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call"
from enum import IntEnum
from typing import Final

from baretick.exchange import ring
from baretick.matching.records import RECORD_BYTES, Op, Reason, Scope
from baretick.memory import address, compiled, load64, shift_right, store64
from baretick.telemetry.clock import CLOCK_MONOTONIC, clock_ns

MASS_CANCEL, KILL, SET = int(Op.MASS_CANCEL), int(Op.KILL), int(Op.SET)
ACCOUNT: Final = int(Scope.ACCOUNT)
FORBIDDEN, BAD_SEQUENCE, BUSY = int(Reason.FORBIDDEN), int(Reason.BAD_SEQUENCE), int(Reason.BUSY)


class Role(IntEnum):
    """What a login may do. TRADER: orders of its own account, and cancelling all of them. RISK: MASS_CANCEL, KILL and
    SET of everything, and no orders.
    """

    TRADER = 0
    RISK = 1


TRADER: Final = int(Role.TRADER)


@compiled
def enter(staging, n, inbox, account, role, due, now):
    """Pass the first `n` records of `staging` on, dated `now`: the ring's head after them, or a Reason below zero.

    `due` is the session's next number: records carry 0, or count on from it.
    """
    c, r = address(staging), address(inbox)
    for i in range(n):
        seq, codes = load64(c, 0), load64(c, 56)
        if seq != 0 and seq != due + i:
            return -BAD_SEQUENCE
        op, owner = codes & 0xFF, shift_right(codes, 48)
        if role == TRADER:
            if owner != account or op in (KILL, SET):
                return -FORBIDDEN
            if op == MASS_CANCEL and (codes >> 24) & ACCOUNT == 0:
                return -FORBIDDEN
        elif op not in (MASS_CANCEL, KILL, SET):
            return -FORBIDDEN
        c += RECORD_BYTES
    if ring.room(r, n) < n:
        return -BUSY
    head, c, at = load64(r, ring.R_HEAD), address(staging), clock_ns(CLOCK_MONOTONIC)
    for i in range(n):
        store64(c, 8, now)
        ring.copy(ring.slot(r, head + i), c)
        store64(ring.stamp(r, head + i), 0, at)
        c += RECORD_BYTES
    ring.publish(r, head + n)
    return head + n
