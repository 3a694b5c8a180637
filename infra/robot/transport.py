"""One request to the webservice and its answer: budget first, then the wire, then what may be tried again."""

import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util import make_headers

from infra.robot.budget import Ledger, account_dir
from infra.robot.credentials import RobotLogin
from infra.robot.endpoints import bucket_of, repeatable
from infra.robot.errors import (
    BudgetSpent,
    Maintenance,
    RateLimited,
    RobotError,
    Unauthorized,
    Uncertain,
    Unreachable,
    refusal,
)

log = logging.getLogger(__name__)

Form = Iterable[tuple[str, str]]

# Of one attempt. Robot answers most calls within a second, a reset within ten.
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
# Trouble on the way or a 5xx: so many attempts, with twice the pause each time.
ATTEMPTS = 5
PAUSE_SECONDS = 1.0
# Maintenance takes minutes.
MAINTENANCE_PAUSE, MAINTENANCE_MOST = 30.0, 900.0
# How long a budget that is used up, ours or Robot's, is waited for before the call is given up.
PATIENCE_SECONDS = 120.0


class Wire(Protocol):
    """What carries a request: HTTPS in production; anything that answers in tests."""

    def __call__(self, method: str, path: str, form: str) -> tuple[int, bytes]:
        """Status and body. Raises NotSent where nothing reached Robot, and Lost where something may have."""


class NotSent(Exception):
    pass


class Lost(Exception):
    pass


class HttpsWire:
    """Basic auth over one pooled connection. The credentials live in this object's headers and nowhere else."""

    def __init__(self, login: RobotLogin) -> None:
        # The credentials must never cross a network in the clear.
        parts = urlsplit(login.endpoint)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise RobotError("login", f"{login.endpoint} is not https: the password would be sent in the clear")
        self._base = login.endpoint
        self._headers = {
            "Accept": "application/json",
            "User-Agent": "baretick",
            **make_headers(basic_auth=f"{login.user}:{login.password}"),
        }
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), retries=False, maxsize=4
        )

    def __repr__(self) -> str:
        return f"HttpsWire({self._base})"

    def __call__(self, method: str, path: str, form: str) -> tuple[int, bytes]:
        headers = dict(self._headers)
        if form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            answer = self._pool.request(
                method, self._base + path, body=form or None, headers=headers, redirect=False, preload_content=True
            )
        except (NewConnectionError, ConnectTimeoutError, NameResolutionError) as error:
            raise NotSent(_reason(error)) from None
        except HTTPError as error:
            raise Lost(_reason(error)) from None
        return answer.status, answer.data


def _reason(error: Exception) -> str:
    # Only the reason: the text around it repeats the address.
    return str(getattr(error, "reason", None) or error).rpartition(": ")[2] or type(error).__name__


class Transport:
    """Sends what the budget allows. One that met a 401 sends nothing any more."""

    def __init__(
        self,
        wire: Wire,
        ledger: Ledger,
        *,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.ledger = ledger
        self._wire = wire
        self._sleep = sleep
        self._patience = patience
        self._proven = False
        self._locked_out = False

    @classmethod
    def of(cls, login: RobotLogin, patience: float = PATIENCE_SECONDS) -> "Transport":
        return cls(HttpsWire(login), Ledger(account_dir(login.endpoint, login.user)), patience=patience)

    def call(self, method: str, path: str, form: Form = ()) -> Any:
        """The answer's JSON; None where Robot sends no body. Raises RobotError, and nothing else."""
        name = f"{method} {path}"
        encoded = urlencode(list(form))
        waited = {"budget": 0.0, "maintenance": 0.0}
        failures = 0
        while True:
            self._reserve(name, method, path, waited)
            try:
                status, raw = self._send(name, method, path, encoded)
            except NotSent as error:
                failures = self._again(failures, f"{name}: Robot cannot be reached: {error}", name, str(error))
                continue
            except Lost as error:
                if not repeatable(method, path):
                    raise Uncertain(
                        name, f"the connection ended before the answer came ({error}); look whether it took effect"
                    ) from None
                failures = self._again(failures, f"{name}: no answer: {error}", name, str(error))
                continue
            if status < 400:
                return _parsed(name, raw)
            failures = self._refused(name, method, path, status, raw, failures, waited)

    def _refused(
        self, name: str, method: str, path: str, status: int, raw: bytes, failures: int, waited: dict[str, float]
    ) -> int:
        """What a refusal comes to: raises where it is final, else returns the count of failures after a pause."""
        body = _error_body(raw)
        if status == 503:
            pause = min(MAINTENANCE_PAUSE * 2 ** (waited["maintenance"] > 0), MAINTENANCE_MOST - waited["maintenance"])
            if pause <= 0:
                raise Maintenance(name, waited["maintenance"])
            log.warning("%s: Robot is in maintenance, again in %.0f s", name, pause)
            waited["maintenance"] += pause
            self._sleep(pause)
            return failures
        if status >= 500 and not body.get("code"):
            if not repeatable(method, path):
                raise Uncertain(name, f"Robot failed with {status}; look whether it took effect", status=status)
            return self._again(failures, f"{name}: Robot failed with {status}", name, f"status {status}", status)
        error = refusal(name, status, body)
        if isinstance(error, RateLimited):
            self.ledger.refused(bucket_of(method, path), error.interval)
            if waited["budget"] + error.interval > self._patience:
                raise error
            # The next turn waits for the ledger, which knows the interval now.
            return failures
        raise error

    def _reserve(self, name: str, method: str, path: str, waited: dict[str, float]) -> None:
        bucket = bucket_of(method, path)
        while wait := self.ledger.reserve(bucket):
            if waited["budget"] + wait > self._patience:
                raise BudgetSpent(name, bucket.name, bucket.limit, bucket.window, wait)
            log.warning("%s: waiting %.0f s for the budget %r", name, wait, bucket.name)
            waited["budget"] += wait
            self._sleep(wait)

    def _send(self, name: str, method: str, path: str, form: str) -> tuple[int, bytes]:
        if self._locked_out:
            raise Unauthorized(name)
        if self._proven:
            status, raw = self._wire(method, path, form)
            if status == 401:
                self.ledger.login_failed()
        else:
            with self.ledger.login_lock():
                status, raw = self._first(name, method, path, form)
        if status == 401:
            self._locked_out = True
            raise Unauthorized(name)
        return status, raw

    def _first(self, name: str, method: str, path: str, form: str) -> tuple[int, bytes]:
        """The first request of a run proves the login; with two failures on record none is risked."""
        if wait := self.ledger.login_wait():
            raise Unauthorized(
                name,
                f"two logins failed within ten minutes, so Robot was not asked: a third would lock this address. "
                f"Correct user and password, and run again in {wait:.0f} s",
            )
        status, raw = self._wire(method, path, form)
        if status == 401:
            self.ledger.login_failed()
        elif status < 400 or status in (403, 404, 409):
            self._proven = True
            self.ledger.login_worked()
        return status, raw

    def _again(self, failures: int, said: str, name: str, reason: str, status: int = 0) -> int:
        if failures + 1 >= ATTEMPTS:
            raise Unreachable(
                name,
                f"{ATTEMPTS} attempts failed, the last with: {reason}. Nothing further was done; run again when "
                "Robot can be reached (status.hetzner.com)",
                status=status,
            )
        pause = PAUSE_SECONDS * 2**failures
        log.warning("%s, again in %.0f s", said, pause)
        self._sleep(pause)
        return failures + 1


def _parsed(name: str, raw: bytes) -> Any:
    if not raw.strip():
        return None
    try:
        return json.loads(raw)
    except ValueError:
        raise Unreachable(name, "the answer is not JSON: is there a proxy between here and Robot?") from None


def _error_body(raw: bytes) -> dict[str, Any]:
    """The error object; empty where the answer came from something before Robot (gateways answer in HTML)."""
    try:
        error = json.loads(raw)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}
