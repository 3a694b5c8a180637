"""The states in the rescue system: the hardware is the one that was meant, the disks may be used, the system is on."""

from collections.abc import Sequence

from infra.robot.install import ladder
from infra.robot.install.before import rescue_session
from infra.robot.install.context import Context, Result, Wait
from infra.robot.install.ports import FoundDisk, FoundSystem, InstallJob
from infra.robot.install.record import State
from infra.robot.storage import autosetup

GIB = 2**30
INSTALL_TRIES = 2
POLL_SECONDS = 5.0


def hardware(context: Context) -> Result:
    """The disks that the site names are there, by ids that do not change; cores and memory are enough."""
    session = rescue_session(context)
    if isinstance(session, State | Wait):
        return session
    wanted, record, facts = context.wanted, context.record, session.hardware()
    drives: list[str] = []
    for ident in wanted.storage.disks:
        fits = [d for d in facts.disks if ident in d.ids]
        if len(fits) != 1:
            raise context.stop(
                f"there is no disk {ident!r}; the server has {_disks(facts.disks)}",
                "Name its disks by one of these ids in the site",
            )
        drives.append(fits[0].name)
    if len(set(drives)) != len(drives):
        raise context.stop(
            f"two of the named ids are the same disk; the server has {_disks(facts.disks)}", "Name each once"
        )
    if facts.cpus < wanted.cpus or facts.memory_bytes < (wanted.memory_gib - 1) * GIB:
        raise context.stop(
            f"it has {facts.cpus} CPUs and {facts.memory_bytes / GIB:.0f} GiB, and its pool wants {wanted.cpus} and "
            f"{wanted.memory_gib}",
            "Move the host to another pool, or correct the pool",
        )
    record.drives, record.uefi = drives, facts.uefi
    record.nic, record.nic_driver = facts.nic, facts.nic_driver
    return State.DISKS


def _disks(disks: Sequence[FoundDisk]) -> str:
    return "; ".join(f"{d.name}: {', '.join(d.ids)} ({d.bytes / 1e9:.0f} GB)" for d in disks) or "none"


def check(context: Context) -> Result:
    """They are healthy, and what is on them is ours, or may go."""
    session = rescue_session(context)
    if isinstance(session, State | Wait):
        return session
    wanted, record = context.wanted, context.record
    if failing := session.failing(record.drives):
        raise context.stop(
            f"its disks are not well: {'; '.join(failing)}",
            "Have Hetzner replace the disk (Robot, Support), then run again",
        )
    found = [s for s in session.found() if set(s.disks) & set(record.drives)]
    for system in found:
        if system.install_id == wanted.install_id and system.host_keys:
            # A run that was lost had finished: it is adopted, and its key is pinned from in here.
            record.host_keys, record.first_use, record.install_done = list(system.host_keys), False, True
            ladder.clear(context)
            return State.BOOTED
    begun = record.install_began_at is not None
    if found and not wanted.consented and not begun:
        session.reboot()
        raise context.stop(
            f"its disks hold {_list(found)}; nothing was changed, and the server was restarted into what it had",
            f"If all of that may be lost, say so with the server's own number (allow_reinstall: {wanted.number})",
        )
    if found and (wanted.storage.wipe or begun):
        record.install_began_at = record.install_began_at or context.clock.now()
        context.save()
        session.wipe(record.drives)
        if left := [s for s in session.found() if set(s.disks) & set(record.drives)]:
            raise context.stop(f"after wiping, its disks still hold {_list(left)}", "Look at it in the rescue system")
    elif wider := [s for s in found if not set(s.disks) <= set(record.drives)]:
        raise context.stop(
            f"{_list(wider)} lies on disks beside those that the site names",
            "Name those disks as well, or set wipe: true for the host's storage",
        )
    return State.INSTALLED


def _list(found: Sequence[FoundSystem]) -> str:
    return "; ".join(f"{s.what} on {', '.join(s.disks)}" for s in found)


def install(context: Context) -> Result:
    """installimage, begun once and watched. The new system's host keys are read while nobody else can have them."""
    session = rescue_session(context)
    if isinstance(session, State | Wait):
        return session
    wanted, record = context.wanted, context.record
    progress = session.progress(wanted.install_id)
    if progress.state == "running":
        return Wait(POLL_SECONDS)
    if progress.state == "done":
        if not progress.host_keys:
            raise context.stop("the new system has no host keys", "Look at the log of installimage: " + progress.log)
        record.host_keys, record.first_use, record.install_done = list(progress.host_keys), False, True
        ladder.clear(context)
        return State.BOOTED
    if progress.state == "failed":
        record.install_tries += 1
        record.spent_boot_id = session.face.boot_id
        if record.install_tries >= INSTALL_TRIES:
            raise context.stop(
                f"installimage failed {record.install_tries} times; the end of its log: {progress.log}",
                "Mend what the log names, then run again",
            )
        return State.RESCUE_ARMED
    # Written down first: from here on the disks are not what they were.
    record.install_began_at = record.install_began_at or context.clock.now()
    context.save()
    text = autosetup(wanted.storage, record.drives, hostname=wanted.hostname, image=wanted.image, uefi=record.uefi)
    session.begin_install(InstallJob(wanted.install_id, text, wanted.hostname, wanted.public_key))
    return Wait(POLL_SECONDS)
