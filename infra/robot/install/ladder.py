"""Restarting a host so that something else comes up: by SSH, then Robot's software reset, then its reset line.

Each rung is written down before it is climbed, so that a run that was killed in between climbs none twice; each has its
time, counted from what was written down.
"""

from infra.robot.errors import Uncertain
from infra.robot.install.context import Context, Wait
from infra.robot.install.ports import NoLogin, Session
from infra.robot.install.record import Reset
from infra.robot.models import ResetType

RUNGS = ("ssh", "sw", "hw")
LIMITS = {"ssh": 480.0, "sw": 600.0, "hw": 600.0}
POLL_SECONDS = 5.0
BIOS_HINT = (
    "Check in the BIOS that the network (PXE) comes before the disk, over a KVM console (Robot, Support, Remote "
    "console); then run again, which goes on from here"
)


def available(context: Context, session: Session | None) -> list[str]:
    """The rungs that this host has, lowest first. Never `man` or `power_long`: those ask for a person."""
    types = context.record.reset_types
    return [r for r in RUNGS if (session is not None if r == "ssh" else r in types)]


def clear(context: Context) -> None:
    record = context.record
    record.rung, record.rung_at, record.rung_sent, record.old_boot_id = None, None, False, None


def climb(context: Context, session: Session | None) -> bool:
    """Take the first rung, or wait out the one that was taken and then take the next; False where none is left."""
    record, now = context.record, context.clock.now()
    if record.rung is None:
        record.old_boot_id = session.face.boot_id if session else None
        rungs = available(context, session)
        # Where a lower one brought up the wrong system, a higher one is taken.
        return _take(context, (rungs[min(record.skip, len(rungs) - 1) :] if rungs else [])[:1], session)
    if record.rung_at is None:
        # Never "long ago" and never "just now" for ever: from here it has its full time, once.
        record.rung_at = now
        context.save()
    if record.rung == "ssh" and not record.rung_sent and session and session.face.boot_id == record.old_boot_id:
        # A run was killed before it asked: asking the same boot again restarts it once.
        return _ask(context, session)
    if now < record.rung_at + LIMITS.get(record.rung, LIMITS["hw"]):
        return True
    above = RUNGS[RUNGS.index(record.rung) + 1 :] if record.rung in RUNGS else ()
    return _take(context, [r for r in above if r in record.reset_types][:1], session)


def _take(context: Context, rungs: list[str], session: Session | None) -> bool:
    if not rungs:
        return False
    record = context.record
    record.rung, record.rung_at, record.rung_sent = rungs[0], context.clock.now(), False
    record.resets.append(Reset(how=rungs[0], at=context.clock.now()))
    context.save()
    return _ask(context, session)


def _ask(context: Context, session: Session | None) -> bool:
    record = context.record
    if record.rung == "ssh":
        if session is not None:
            try:
                session.reboot()
            except NoLogin:
                # It went down before it said so, or it did not hear: its time tells.
                record.rung_sent = True
    else:
        kind: ResetType = "sw" if record.rung == "sw" else "hw"
        try:
            context.robot.resets.reset(record.number, kind)
        except Uncertain:
            # Whether it happened shows on the host; a second one could hit it while it boots.
            record.rung_sent = True
    record.rung_sent = True
    # Asking may have waited for the budget: the host's time begins now, and so does this state's.
    record.rung_at = context.began = context.clock.now()
    context.save()
    return True


def climbed(context: Context) -> str:
    """What was tried, for a person."""
    return (
        ", then ".join(
            {"ssh": "reboot by SSH", "sw": "software reset", "hw": "hardware reset"}.get(r.how, r.how)
            for r in context.record.resets[-len(RUNGS) :]
        )
        or "nothing"
    )


def wait() -> Wait:
    return Wait(POLL_SECONDS)
