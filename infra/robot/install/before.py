"""The states in which nothing on the host is changed: inspect, key, guard. And the rescue system: armed, booted."""

from infra.robot.errors import Refused
from infra.robot.install import ladder
from infra.robot.install.context import Context, Result, Wait
from infra.robot.install.ports import Denied, NoLogin, Session, Silent, WrongKey
from infra.robot.install.record import State
from infra.robot.key_files import fingerprint, sha256
from infra.robot.models import Boot

ARMS_MOST = 3
RETRY_SECONDS = 10.0
BOOT_TRIES = 3


def inspect(context: Context) -> Result:
    """Reads only. A server that cannot be installed is refused before anything is written anywhere."""
    wanted, record, robot = context.wanted, context.record, context.robot
    server = robot.servers.get(wanted.number)
    if server.status != "ready":
        raise context.stop("Robot says that the server is in process", "Wait until it is ready, then run again")
    if server.cancelled:
        raise context.stop("the server's contract is cancelled", "Withdraw the cancellation, or remove the host")
    if server.server_ip is None:
        raise context.stop("the server has no IPv4 address", "Order one for it (Robot, IPs), then run again")
    for field, asked, has in (("product", wanted.product, server.product), ("location", wanted.location, server.dc)):
        if asked and not has.lower().startswith(asked.lower()):
            raise context.stop(
                f"its {field} is {has!r}, and the site says {asked!r}", "Is the server's number right? Correct the site"
            )
    options = robot.resets.options(wanted.number)
    if server.rescue is False or not set(options.type) & {"sw", "hw"}:
        raise context.stop(
            "it has no rescue system or no reset", "Ask Hetzner's support; such a server cannot be installed"
        )
    record.address = server.server_ip
    record.reset_types = list(options.type)
    return State.KEY


def key(context: Context) -> Result:
    """The operator's key in the account, known by the fingerprint that is computed here."""
    keys, public = context.robot.keys, context.wanted.public_key
    mark = fingerprint(public)
    found = keys.get(mark)
    if found is None:
        try:
            found = keys.add(f"{context.wanted.hostname} operator", " ".join(public.split()[:2]))
        except Refused as refused:
            if refused.code != "KEY_ALREADY_EXISTS":
                raise
            found = keys.get(mark)
    if found is None or found.fingerprint != mark:
        raise context.stop(f"Robot does not keep the key {mark}", "Look at the account's keys in Robot, then run again")
    return State.GUARD


def guard(context: Context) -> Result:
    """What runs there now? What is not ours stays, unless the server's number was typed."""
    wanted, record = context.wanted, context.record
    try:
        session = context.session(record.host_keys)
    except Silent:
        if record.host_keys and not wanted.consented:
            raise context.stop(
                "the host was installed before and does not answer now; it was not restarted",
                f"Start it, or have it installed anew (allow_reinstall: {wanted.number})",
            ) from None
        return State.RESCUE_ARMED
    except Denied:
        return _foreign(context, "something answers on SSH that does not know the operator's key")
    except WrongKey:
        return _foreign(context, "something answers on SSH with another host key than the pinned one")
    face = session.face
    if face.system == "rescue":
        record.rescue_keys = list(face.host_keys)
        return State.HARDWARE
    if face.install_id == wanted.install_id:
        if not record.host_keys:
            # The record was lost. Nothing secret was sent yet, and from now on it is pinned.
            record.host_keys, record.first_use = list(face.host_keys), True
        record.install_done = True
        ladder.clear(context)
        return State.BOOTED
    ours = f" (an installation of ours with other disks or image: {face.install_id})" if face.install_id else ""
    return _foreign(context, f"{face.release or 'a system'} runs there as {face.hostname!r}{ours}")


def _foreign(context: Context, what: str) -> Result:
    if context.wanted.consented:
        return State.RESCUE_ARMED
    number = context.wanted.number
    raise context.stop(
        f"{what}; nothing was changed",
        f"If all that is on its disks may be lost, say so with the server's own number (allow_reinstall: {number})",
    )


def arm(context: Context) -> Result:
    """The rescue system for the next boot, with our key. One that is armed so already is left as it is."""
    record, boots, number = context.record, context.robot.boots, context.wanted.number
    mark = fingerprint(context.wanted.public_key)
    if record.arms >= ARMS_MOST:
        raise context.stop(
            f"the rescue system was armed {record.arms} times and did not come up ({ladder.climbed(context)})",
            ladder.BIOS_HINT,
        )
    armed: Boot | None = None
    for attempt in range(1, BOOT_TRIES + 1):
        try:
            config = boots.config(number)
            armed = config.rescue if config.active == "rescue" else None
            if armed is None or mark not in [k.fingerprint for k in armed.authorized_key]:
                if config.active:
                    boots.deactivate(number, config.active)
                armed = boots.activate_rescue(number, [mark])
            break
        except Refused as refused:
            if not refused.code.startswith("BOOT_") or attempt == BOOT_TRIES:
                raise
            context.clock.sleep(RETRY_SECONDS)
    if armed is None or not armed.active or mark not in [k.fingerprint for k in armed.authorized_key]:
        raise context.stop("Robot does not say that the rescue system is active with our key", "Run again")
    record.arms += 1
    record.robot_keys, record.rescue_keys = list(armed.host_key), []
    ladder.clear(context)
    return State.RESCUE_BOOTED


def boot_rescue(context: Context) -> Result:
    """Until SSH answers from a rescue system that was not there before."""
    record = context.record
    session = _any_session(context)
    if session is not None:
        old = record.spent_boot_id if record.rung is None else record.old_boot_id
        if session.face.system == "rescue" and session.face.boot_id != old:
            _believe(context, session)
            record.arms, record.skip, record.spent_boot_id = 0, 0, None
            ladder.clear(context)
            return State.HARDWARE
        if record.rung in ladder.RUNGS and session.face.boot_id != old:
            # It restarted, and the disk came first. What was armed may be used up: armed again, and a rung higher.
            record.skip = ladder.RUNGS.index(record.rung) + 1
            return State.RESCUE_ARMED
    if not ladder.climb(context, session):
        raise context.stop(
            f"no rescue system answers on SSH after {ladder.climbed(context)}",
            ladder.BIOS_HINT,
        )
    return ladder.wait()


def _any_session(context: Context) -> Session | None:
    """Whoever answers: the old system by its pinned key, or a rescue system, whose key nobody can know before."""
    try:
        return context.session(())
    except NoLogin:
        return None


def _believe(context: Context, session: Session) -> None:
    """Hold the rescue system's host key against what Robot says of it, where it says anything; believe it else."""
    record = context.record
    last = context.robot.boots.last(record.number)
    told = [*record.robot_keys, *(last.host_key if last else ())]
    seen = session.face.host_keys
    if told and not any(fingerprint(k) in told or sha256(k) in told or k in told for k in seen):
        raise context.stop(
            f"the rescue system's host key ({', '.join(sha256(k) for k in seen)}) is none of those that Robot names",
            "Somebody may be between here and the host: nothing was sent. Look at it over a KVM console",
        )
    record.rescue_keys = list(seen)


def rescue_session(context: Context) -> Session | Result:
    """A login in the rescue system of this attempt, or what to do where there is none."""
    try:
        session = context.session(context.record.rescue_keys)
    except (Silent, Denied):
        return Wait(ladder.POLL_SECONDS)
    except WrongKey:
        # Another boot of it, or another system: it is booted anew, and known again.
        return State.RESCUE_ARMED
    return session if session.face.system == "rescue" else State.RESCUE_ARMED
