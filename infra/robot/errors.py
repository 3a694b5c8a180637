"""What the webservice refuses, and what can go wrong on the way to it; each says what, and what to do next."""

from typing import Any


class RobotError(Exception):
    """A call that did not come to its end. `code` is Robot's own where it gave one."""

    def __init__(self, call: str, message: str, *, status: int = 0, code: str = "") -> None:
        self.call = call
        self.status = status
        self.code = code
        super().__init__(f"{call}: {message}")


class Refused(RobotError):
    """Robot's answer is no. `missing` and `invalid` name fields where the input was wrong."""

    def __init__(self, call: str, status: int, code: str, message: str, body: dict[str, Any]) -> None:
        self.missing = tuple(_names(body.get("missing")))
        self.invalid = tuple(_names(body.get("invalid")))
        fields = [f"missing {', '.join(self.missing)}"] * bool(self.missing)
        fields += [f"invalid {', '.join(self.invalid)}"] * bool(self.invalid)
        shown = f" ({'; '.join(fields)})" if fields else ""
        super().__init__(call, f"Robot refused with {status} {code}: {message}{shown}", status=status, code=code)


class NotFound(Refused):
    """404: no such thing, or an empty list."""


class InProcess(Refused):
    """409 of something that Robot is still changing: the same call works a little later."""


class RateLimited(RobotError):
    """403 RATE_LIMIT_EXCEEDED: nothing of this kind before `interval` seconds are over."""

    def __init__(self, call: str, interval: float, limit: int | None) -> None:
        self.interval = interval
        self.limit = limit
        most = f" of {limit} requests" if limit else ""
        super().__init__(
            call,
            f"Robot's rate limit{most} is used up; run again in {_span(interval)}, "
            "`python -m infra.robot budget` shows every endpoint's",
            status=403,
            code="RATE_LIMIT_EXCEEDED",
        )


class BudgetSpent(RobotError):
    """Our own count says that Robot would refuse: not asked at all."""

    def __init__(self, call: str, bucket: str, limit: int, window: int, wait: float) -> None:
        self.bucket = bucket
        self.wait = wait
        period = "day" if window == 86400 else "hour"
        super().__init__(
            call,
            f"the budget {bucket!r} of {limit} requests a {period} is spent, so Robot was not asked; run again in "
            f"{_span(wait)}, `python -m infra.robot budget` shows every endpoint's",
        )


class Unauthorized(RobotError):
    """401. Never tried again: the third one locks this address out for ten minutes."""

    def __init__(self, call: str, message: str | None = None) -> None:
        super().__init__(
            call,
            message
            or (
                "Robot does not take this user and password, and everything stopped at once because a third failed "
                "login locks this address for ten minutes. Check the webservice user (Robot, Settings, Webservice and "
                "app settings; it begins with #ws+) and its password, then run again"
            ),
            status=401,
            code="UNAUTHORIZED",
        )


class Maintenance(RobotError):
    """503 that lasted longer than we were willing to wait."""

    def __init__(self, call: str, waited: float) -> None:
        super().__init__(
            call,
            f"Robot is in maintenance (503) and was still after {_span(waited)}; nothing is lost, run again later "
            "(status.hetzner.com says until when)",
            status=503,
        )


class Unreachable(RobotError):
    """Robot could not be asked, or failed each time it was. What was asked has not happened, or may be asked again."""


class Uncertain(RobotError):
    """The connection ended after the request was sent: whether it took effect must be looked up before asking again."""


def _names(value: object) -> list[str]:
    if isinstance(value, dict):
        return [str(key) for key in value]
    return [str(v) for v in value] if isinstance(value, list) else []


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def refusal(call: str, status: int, body: dict[str, Any]) -> RobotError:
    """The typed error of an error body. A 403 is read before it is called forbidden."""
    code, message = str(body.get("code", "")), str(body.get("message", ""))
    if status == 401:
        return Unauthorized(call)
    if code == "RATE_LIMIT_EXCEEDED":
        limit = body.get("max_request", body.get("max_requests"))
        return RateLimited(call, float(body.get("interval") or 60), int(limit) if limit else None)
    kind = NotFound if status == 404 else InProcess if code.endswith("_IN_PROCESS") else Refused
    return kind(call, status, code, message, body)
