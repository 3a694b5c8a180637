"""Refusals in Robot's form: `{"error": {"status", "code", "message"}}`, with what some of them add."""

from typing import Any


class RobotRefusal(Exception):
    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.more = more

    def body(self) -> dict[str, Any]:
        return {"error": {"status": self.status, "code": self.code, "message": self.message, **self.more}}


def invalid_input(*, missing: tuple[str, ...] = (), invalid: tuple[str, ...] = ()) -> RobotRefusal:
    return RobotRefusal(
        400, "INVALID_INPUT", "invalid input", missing=list(missing) or None, invalid=list(invalid) or None
    )


def not_found(what: str = "not found", code: str = "NOT_FOUND") -> RobotRefusal:
    return RobotRefusal(404, code, what)
