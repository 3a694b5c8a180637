"""The emulated webservice without a socket, and time that passes only when somebody waits."""

import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from infra.emulator.cloud import Cloud
from infra.emulator.machines.none import NoMachines
from infra.emulator.robot.account import Account
from infra.emulator.robot.form import Call
from infra.emulator.robot.service import RobotService
from infra.emulator.store import Store
from infra.robot.budget import Ledger
from infra.robot.client import Robot
from infra.robot.transport import Lost, NotSent, Transport

LOGIN = ("#ws+rig", "pass word")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM/FTzzgKW8+qllu9EzfLLUaUlqYh8K8V+Yfqc0qR963 operator"


class Time:
    """A clock that only sleeping moves."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Rig:
    """An account of the emulator, asked directly; faults of the wire are played as a real one shows them."""

    def __init__(self, folder: Path, time: Time | None = None, login: tuple[str, str] = LOGIN) -> None:
        self.time = time or Time()
        self.folder = folder
        self.login = login
        store = Store(None)
        self.cloud = Cloud(store, NoMachines())
        self.account = Account(store, self.cloud.faults, self.time)
        self.account.db.settings.delay_scale = 1.0
        self.service = RobotService(self.account, *LOGIN)
        self.loop = asyncio.new_event_loop()
        self.asked: list[tuple[str, str, str]] = []
        self.before: Callable[[str, str], None] = lambda method, path: None

    def close(self) -> None:
        self.loop.close()

    def wire(self, method: str, path: str, form: str) -> tuple[int, bytes]:
        self.before(method, path)
        struck = self.account.faults.on_request("robot", method, path)
        for rule in struck:
            if rule.kind == "reset" and not rule.after:
                raise NotSent("Connection refused")
            if rule.kind == "status" and not rule.after:
                return self.refusal(rule)
        self.asked.append((method, path, form))
        answer = self.loop.run_until_complete(self.service.answer(Call.of(method, path, form), self.login))
        for rule in struck:
            if rule.kind == "reset":
                raise Lost("Connection reset by peer")
            if rule.kind == "status":
                return self.refusal(rule)
        return answer.status, b"" if answer.body is None else json.dumps(answer.body).encode()

    @staticmethod
    def refusal(rule) -> tuple[int, bytes]:
        if rule.code is None:
            return rule.status, b"<html>busy</html>"
        error = {"status": rule.status, "code": rule.code, "message": rule.message}
        if rule.code == "RATE_LIMIT_EXCEEDED":
            error |= {rule.max_field: rule.max_request, "interval": rule.interval}
        return rule.status, json.dumps({"error": error}).encode()

    def transport(self, **more) -> Transport:
        return Transport(self.wire, Ledger(self.folder, self.time), sleep=self.time.sleep, **more)

    def robot(self, **more) -> Robot:
        """A client as a fresh process has it: nothing remembered but what is on disk."""
        return Robot(self.transport(**more))

    def calls(self, method: str, path: str) -> int:
        return sum((m, p) == (method, path) for m, p, _ in self.asked)


class Killed(BaseException):
    """The process is gone: no handler of the code under test sees this as an error of its own."""


class Site:
    """Installations against a rig: one host, SSH played by the emulator's state, kills at any countable moment."""

    def __init__(self, folder: Path, **wanted) -> None:
        from infra.robot.install.record import Records
        from infra.robot.install.wanted import Wanted
        from infra.robot.storage import Storage

        # Renames that replace a file are flushed on a disk; in memory the same code takes a tenth of the time.
        memory = Path("/dev/shm")
        self._memory = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else folder)
        folder = Path(self._memory.name)
        self.rig = Rig(folder / "ledger")
        # Fewer polls, and so fewer moments that are like one another.
        self.rig.account.db.settings.delay_scale = 0.25
        self.server = self.rig.account.rack(number=321)
        self.records = Records(folder / "records", durable=False)
        ids = [d.by_id for d in self.server.hardware.disks]
        self.wanted = Wanted(
            **{
                "number": 321,
                "hostname": "data-1",
                "storage": Storage(disks=ids, raid=1),
                "public_key": KEY,
                **wanted,
            }
        )
        self.kill_at: int | None = None
        self.moments = 0
        self.reboots = 0
        self.began: list[str] = []
        self.rig.before = lambda method, path: self.moment()

    def close(self) -> None:
        self.rig.close()
        self._memory.cleanup()

    def moment(self) -> None:
        """Something that a kill can come before or after."""
        self.moments += 1
        if self.kill_at is not None and self.moments >= self.kill_at:
            raise Killed

    # The clock of the installation.

    def now(self) -> float:
        return self.rig.time()

    def sleep(self, seconds: float) -> None:
        self.moment()
        self.rig.time.sleep(seconds)

    # Its logins.

    def connect(self, address: str, pins):
        from infra.robot.install.emulated import EmulatedSession

        return EmulatedSession(self.ask, address, KEY, pins)

    def ask(self, address: str, body: dict):
        from infra.emulator.errors import ApiError
        from infra.emulator.robot.login import answer

        server = self.rig.account.server(address)
        self.moment()
        job = server.machine.installation
        try:
            said = 200, answer(self.rig.account, server, body)
        except ApiError as error:
            said = error.status, error.body()
        if server.machine.installation is not job and server.machine.installation is not None:
            self.began.append(server.machine.installation.install_id)
        self.reboots += body["op"] == "reboot"
        self.moment()
        return said

    def install(self, wanted=None):
        from infra.robot.install.machine import install

        return install(wanted or self.wanted, self.rig.robot(patience=7200), self.connect, self.records, self)

    def until_ready(self, wanted=None, tries: int = 5):
        """As a person does: the same command again after each kill."""
        for _ in range(tries):
            try:
                return self.install(wanted)
            except Killed:
                self.kill_at = None
        raise AssertionError("never ready")

    def fault(self, **rule) -> None:
        from infra.emulator.faults import FaultRule

        self.rig.account.faults.add(FaultRule(**rule))
