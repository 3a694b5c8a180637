"""The emulated webservice without a socket, and time that passes only when somebody waits."""

import asyncio
import json
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
