"""What every step of an installation works with, and how a step ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from infra.robot.client import Robot
from infra.robot.errors import RobotError
from infra.robot.install.ports import Clock, Connect, Session, Silent
from infra.robot.install.record import Record, Records, State
from infra.robot.install.wanted import Wanted


class Stopped(RobotError):
    """The installation ended before the host was ready: which host, in which state, why, and what to do."""

    def __init__(self, wanted: Wanted, state: State, cause: str, then: str) -> None:
        self.number = wanted.number
        self.state = state
        self.cause = cause
        self.then = then
        super().__init__(f"{wanted.hostname} (server {wanted.number}), state {state}", f"{cause}. {then}")


@dataclass(frozen=True)
class Wait:
    """Not yet: look again after so many seconds."""

    seconds: float


Result = State | Wait


@dataclass
class Context:
    wanted: Wanted
    record: Record
    records: Records
    robot: Robot
    connect: Connect
    clock: Clock
    # Of this state in this run; each is left or given up within it.
    began: float = field(default=0.0)

    def save(self) -> None:
        self.records.save(self.record)

    def stop(self, cause: str, then: str) -> Stopped:
        return Stopped(self.wanted, self.record.state, cause, then)

    def session(self, pins: Sequence[str]) -> Session:
        """Raises NoLogin."""
        address = self.record.address
        if address is None:
            raise Silent("the host's address is not known yet")
        return self.connect(address, pins)
