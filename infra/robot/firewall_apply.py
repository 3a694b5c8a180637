"""Putting a firewall before a host without locking oneself out: written, seen active, tried, or put back as it was."""

import logging
from collections.abc import Callable

from infra.robot.client import Robot
from infra.robot.errors import InProcess, RobotError
from infra.robot.firewalls import count
from infra.robot.models import Firewall

log = logging.getLogger(__name__)

# Hetzner's switch takes 20 to 30 seconds; 500 calls an hour are shared by all servers.
FIRST_WAIT, POLL_SECONDS, POLLS_MOST = 30.0, 10.0, 6


class FirewallFailed(RobotError):
    """The new firewall does not hold, or locks the operator out. The message says what stands there now."""


def same(one: Firewall, other: Firewall) -> bool:
    ignored = {"server_ip", "server_number"}
    return one.model_dump(exclude=ignored) == other.model_dump(exclude=ignored)


def wait_settled(robot: Robot, number: int, sleep: Callable[[float], None]) -> Firewall:
    """The firewall once Robot has stopped changing it, or as it is after the last look."""
    wall = robot.firewalls.get(number)
    for _ in range(POLLS_MOST):
        if wall.status != "in process":
            break
        sleep(POLL_SECONDS)
        wall = robot.firewalls.get(number)
    return wall


def apply(
    robot: Robot,
    wanted: Firewall,
    *,
    sleep: Callable[[float], None],
    answers: Callable[[], bool],
    previous: Firewall | None = None,
    keep: Callable[[Firewall], None] = lambda wall: None,
) -> Firewall:
    """Have `wanted` active and `answers()` still true, or the previous rules back and FirewallFailed raised.

    `keep` is given the previous rules before anything is changed, to outlive this process; `previous` are the ones that
    an interrupted run kept.
    """
    number = wanted.server_number
    count(f"POST /firewall/{number}", wanted.input, wanted.output)
    found = wait_settled(robot, number, sleep)
    if same(found, wanted) and answers():
        return found
    if previous is None:
        previous = found
        keep(previous)
    if not same(found, wanted):
        try:
            _write(robot, wanted, sleep)
        except RobotError as error:
            # A refusal can leave the server without any firewall.
            _restore(robot, previous, sleep, f"Robot did not take the new rules ({error})")
        sleep(FIRST_WAIT)
    settled = wait_settled(robot, number, sleep)
    if settled.status != "active":
        waited = FIRST_WAIT + POLL_SECONDS * POLLS_MOST
        _restore(robot, previous, sleep, f"it was {settled.status!r} still after {waited:.0f} s")
    if not answers():
        _restore(robot, previous, sleep, "SSH no longer answers through it: is your address in ssh.admin_cidrs?")
    return settled


def _write(robot: Robot, wanted: Firewall, sleep: Callable[[float], None]) -> None:
    try:
        robot.firewalls.write(wanted.server_number, wanted)
    except InProcess:
        # Another change, or this one: where an answer was lost, the repeated request meets what the first one began.
        if not same(wait_settled(robot, wanted.server_number, sleep), wanted):
            robot.firewalls.write(wanted.server_number, wanted)


def _restore(robot: Robot, previous: Firewall, sleep: Callable[[float], None], why: str) -> None:
    number = previous.server_number
    call = f"POST /firewall/{number}"
    for _ in range(POLLS_MOST):
        try:
            robot.firewalls.write(number, previous)
            break
        except InProcess:
            sleep(POLL_SECONDS)
        except RobotError as error:
            raise FirewallFailed(
                call,
                f"server {number}: the new firewall failed, as {why}; the previous rules could not be put back "
                f"({error}): look at it in Robot, then run again",
            ) from None
    else:
        raise FirewallFailed(
            call,
            f"server {number}: the new firewall failed, as {why}; Robot is still changing it, so the previous "
            "rules could not be put back: look at it in Robot (it may need Hetzner's support), then run again",
        )
    raise FirewallFailed(
        call,
        f"server {number}: the new firewall failed, as {why}; the previous rules ({previous.status}, "
        f"{len(previous.input)} in, {len(previous.output)} out) were put back",
    )
