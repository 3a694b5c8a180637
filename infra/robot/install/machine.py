"""The installation of one host: from whatever state its record says to ready, or to an error that says what to do."""

import logging
import time
from collections.abc import Callable, Mapping

from infra.robot.client import Robot
from infra.robot.errors import RobotError, Unauthorized
from infra.robot.install import after, before, disks
from infra.robot.install.context import Context, Result, Stopped, Wait
from infra.robot.install.ports import Clock, Connect, Silent
from infra.robot.install.record import Record, Records, State
from infra.robot.install.wanted import Wanted
from infra.robot.key_files import sha256

log = logging.getLogger(__name__)

Step = Callable[[Context], Result]

STEPS: Mapping[State, Step] = {
    State.INSPECT: before.inspect,
    State.KEY: before.key,
    State.GUARD: before.guard,
    State.RESCUE_ARMED: before.arm,
    State.RESCUE_BOOTED: before.boot_rescue,
    State.HARDWARE: disks.hardware,
    State.DISKS: disks.check,
    State.INSTALLED: disks.install,
    State.BOOTED: after.boot,
    State.NETWORK: after.network,
    State.FIREWALL: after.firewall,
}

# How long a run stays in a state, at most. The ladder of restarts has limits of its own within these.
LIMITS: Mapping[State, float] = {
    State.RESCUE_BOOTED: 1800.0,
    State.HARDWARE: 300.0,
    State.DISKS: 900.0,
    State.INSTALLED: 2400.0,
    State.BOOTED: 1800.0,
    State.NETWORK: 1800.0,
    State.FIREWALL: 900.0,
}
LIMIT = 600.0
# Turns back (a rescue system that went away, a failed installation) are counted in all.
STEPS_MOST = 60


class SystemClock:
    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class HurriedClock:
    """For an emulated site, where everything that is waited for takes a fraction of Hetzner's time."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._began = time.time()

    def now(self) -> float:
        return self._began + (time.time() - self._began) * self._factor

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self._factor)


def install(wanted: Wanted, robot: Robot, connect: Connect, records: Records, clock: Clock | None = None) -> Record:
    """Have the host ready. Can be interrupted anywhere and called again; returns at once where it is ready already.

    Raises Stopped with host, state, cause and next step; Unauthorized as it is, for it stops every host.
    """
    clock = clock or SystemClock()
    with records.held(wanted.number):
        record = begin(wanted, records.load(wanted.number))
        context = Context(wanted, record, records, robot, connect, clock)
        try:
            _run(context)
        except Unauthorized:
            raise
        except RobotError as error:
            told = (
                error if isinstance(error, Stopped) else context.stop(str(error), "Run again, which goes on from here")
            )
            record.failure = str(told)
            context.save()
            raise told from (None if told is error else error)
    return record


def begin(wanted: Wanted, record: Record | None) -> Record:
    """Where to go on: the record's state, or an earlier one where the site has changed since."""
    if record is None:
        return Record(number=wanted.number, install_id=wanted.install_id, hostname=wanted.hostname)
    record.hostname = wanted.hostname
    if record.install_id != wanted.install_id:
        # Other disks or another image: what is known of the host stays, what was done for it is done anew. Its
        # running system then is one that needs consent to go.
        return Record(
            number=wanted.number,
            install_id=wanted.install_id,
            hostname=wanted.hostname,
            host_keys=record.host_keys,
            first_use=record.first_use,
        )
    if record.install_done and order(record.state) < order(State.BOOTED):
        # Never again, whatever was noted after it.
        record.state = State.BOOTED
    if record.state == State.READY:
        if record.network_digest != wanted.digest("network") or record.degraded:
            record.state = State.NETWORK
        elif record.firewall_digest != wanted.digest("firewall"):
            record.state = State.FIREWALL
    if record.failure is not None:
        # It was given up, and a person runs it again: restarts are tried anew. A run that was killed left no failure,
        # and what it was waiting for is waited for still.
        record.rung, record.rung_at, record.rung_sent, record.old_boot_id, record.skip = None, None, False, None, 0
        record.failure, record.arms, record.install_tries = None, 0, 0
        if record.state == State.RESCUE_BOOTED:
            record.state = State.RESCUE_ARMED
    return record


def order(state: State) -> int:
    return list(State).index(state)


def _run(context: Context) -> None:
    record, clock = context.record, context.clock
    context.began = clock.now()
    taken = 0
    while record.state != State.READY:
        try:
            result = STEPS[record.state](context)
        except Silent:
            # A session that ended in the middle of a step: the step begins anew.
            result = Wait(5.0)
        if isinstance(result, Wait):
            context.save()
            limit = LIMITS.get(record.state, LIMIT)
            if clock.now() + result.seconds > context.began + limit:
                raise context.stop(
                    f"nothing came of {limit / 60:.0f} min of waiting", "Look at the host, then run again"
                )
            clock.sleep(result.seconds)
            continue
        taken += 1
        if taken > STEPS_MOST:
            raise context.stop("it goes round in circles", "Look at the host over a KVM console, then run again")
        _enter(context, result)
    context.save()


def _enter(context: Context, state: State) -> None:
    record = context.record
    keys = f", host key {', '.join(map(sha256, record.rescue_keys))}" if state == State.HARDWARE else ""
    log.info("%s (server %s): %s -> %s%s", record.hostname, record.number, record.state, state, keys)
    record.state = state
    record.entered_at = context.began = context.clock.now()
    context.save()
