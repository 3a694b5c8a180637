"""The states of the installed system: it is up and the one that was installed, on the vSwitch, behind its firewall."""

from dataclasses import replace

from infra.robot import firewall_apply
from infra.robot.install import ladder
from infra.robot.install.context import Context, Result
from infra.robot.install.ports import Denied, NoLogin, Session, Silent, WrongKey
from infra.robot.install.record import State
from infra.robot.models import Firewall
from infra.robot.vlan import MTU, files
from infra.robot.vswitches import NotReady

CROSS_TRIES = 6
CROSS_SECONDS = 10.0
ANSWER_TRIES, ANSWER_SECONDS = 12, 5.0


def boot(context: Context) -> Result:
    """Until the installed system answers with its pinned key, its name and its id."""
    wanted, record = context.wanted, context.record
    session = _session(context)
    if session is not None and session.face.system == "disk":
        face = session.face
        if face.install_id != wanted.install_id:
            raise context.stop(
                f"the system that answers is not the one that was installed (id {face.install_id})",
                "Look at the host over a KVM console",
            )
        _name(context)
        ladder.clear(context)
        return State.NETWORK
    if record.rung is None:
        _name(context)
        if (config := context.robot.boots.config(wanted.number)).active:
            # Left from an attempt that was given up: the disk must be what boots.
            context.robot.boots.deactivate(wanted.number, config.active)
    if not ladder.climb(context, session):
        raise context.stop(
            f"the installed system does not answer with its pinned key after {ladder.climbed(context)}",
            "Look at the host over a KVM console (Robot, Support, Remote console), then run again",
        )
    return ladder.wait()


def _session(context: Context) -> Session | None:
    """The installed system by its pinned key, else the rescue system by its own."""
    record = context.record
    try:
        return context.session(record.host_keys)
    except Silent:
        return None
    except (WrongKey, Denied):
        pass
    # Not the installed system: a rescue system then, the one of this attempt or one that came up since.
    try:
        session = context.session(())
    except NoLogin:
        return None
    return session if session.face.system == "rescue" else None


def _name(context: Context) -> None:
    wanted, robot = context.wanted, context.robot
    if robot.servers.get(wanted.number).server_name != wanted.hostname:
        robot.servers.rename(wanted.number, wanted.hostname)
    if wanted.reverse_dns and context.record.address:
        entry = robot.ips.rdns_of(context.record.address)
        if entry is None or entry.ptr != wanted.reverse_dns:
            robot.ips.set_rdns(context.record.address, wanted.reverse_dns)


def network(context: Context) -> Result:
    """On the vSwitch, with packets of its MTU crossing. A host whose link does not work is kept, and said to be so."""
    wanted, record = context.wanted, context.record
    record.degraded = None
    if wanted.vswitch is not None:
        record.degraded = _join(context)
    record.network_digest = wanted.digest("network")
    return State.FIREWALL


def _join(context: Context) -> str | None:
    on = context.wanted.vswitch
    assert on is not None
    try:
        context.robot.vswitches.join(on.vswitch, [context.wanted.number], context.clock.sleep)
    except NotReady as error:
        return str(error)
    session = _must(context)
    facts = session.hardware()
    if facts.network == "networkd" and not facts.network_file:
        return f"no .network file of networkd is behind {facts.nic}, and its VLAN belongs there"
    made = on.link.name in facts.links
    session.configure(files(replace(on.link, parent=facts.nic), facts.network, facts.network_file, made=made))
    for attempt in range(CROSS_TRIES if on.peers else 0):
        if attempt:
            context.clock.sleep(CROSS_SECONDS)
        try:
            if any(session.crosses(peer, MTU) for peer in on.peers):
                return None
        except Silent:
            session = _must(context)
    if on.peers:
        return f"no packet of {MTU} bytes crosses vSwitch {on.vswitch} to {', '.join(on.peers)}"
    return None


def _must(context: Context) -> Session:
    for _ in range(CROSS_TRIES):
        try:
            return context.session(context.record.host_keys)
        except Silent:
            context.clock.sleep(CROSS_SECONDS)
        except NoLogin as error:
            raise context.stop(f"the host no longer lets us in ({error})", "Look at it over a KVM console") from None
    raise context.stop("the host no longer answers on SSH", "Run again, which goes on from here")


def firewall(context: Context) -> Result:
    """Active, and SSH still answers through it; else the previous rules are back."""
    wanted, record = context.wanted, context.record

    def keep(wall: Firewall) -> None:
        record.previous_firewall = wall
        context.save()

    def answers() -> bool:
        # One login that fails says little: sshd itself turns an address away for a while after broken ones.
        for attempt in range(ANSWER_TRIES):
            if attempt:
                context.clock.sleep(ANSWER_SECONDS)
            try:
                context.session(record.host_keys)
            except NoLogin:
                continue
            return True
        return False

    if wanted.firewall is not None:
        try:
            firewall_apply.apply(
                context.robot,
                wanted.firewall,
                sleep=context.clock.sleep,
                answers=answers,
                previous=record.previous_firewall,
                keep=keep,
            )
        except firewall_apply.FirewallFailed as failed:
            raise context.stop(str(failed).partition(": ")[2], "The host is as it was before; then run again") from None
    record.previous_firewall = None
    record.firewall_digest = wanted.digest("firewall")
    return State.READY
