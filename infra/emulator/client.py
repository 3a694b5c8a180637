"""A small client of a running emulator: its own routes, and the API's, over plain HTTP on loopback."""

import json
import time
import urllib.error
import urllib.request
from typing import Any

from infra.emulator.errors import EmulatorError

# Any 64 characters are a token here.
TOKEN = "emulated" * 8
ACTION_SECONDS = 120.0
# A port of another program may take a connection and say nothing.
HEALTH_SECONDS = 5.0


class Client:
    def __init__(self, port: int, timeout: float = 60) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self._timeout = timeout

    def call(self, method: str, path: str, body: object = None, timeout: float | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - loopback, always http
            self.base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout or self._timeout) as answer:  # noqa: S310
                return _parsed(answer.read())
        except urllib.error.HTTPError as error:
            refusal = _parsed(error.read()).get("error", {})
            raise EmulatorError(f"{method} {path}: {refusal.get('message', error)}") from error
        except urllib.error.URLError as error:
            raise EmulatorError(f"no emulator answers on {self.base}: {error.reason}") from error

    def get(self, path: str) -> dict[str, Any]:
        return self.call("GET", path)

    def health(self) -> dict[str, Any] | None:
        """None where no emulator answers."""
        try:
            return self.call("GET", "/_emulator/health", timeout=HEALTH_SECONDS)
        except (OSError, EmulatorError, ValueError):
            return None

    def every(self, family: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page: int | None = 1
        while page:
            answer = self.get(f"/v1/{family}?page={page}&per_page=50")
            found += answer[family]
            page = answer["meta"]["pagination"]["next_page"]
        return found

    def settle(self, action: dict[str, Any]) -> None:
        """Until the action is over; raises where it failed."""
        deadline = time.monotonic() + ACTION_SECONDS
        while action["status"] == "running":
            if time.monotonic() > deadline:
                raise EmulatorError(f"action {action['command']} still runs after {ACTION_SECONDS:.0f} s")
            time.sleep(0.1)
            action = self.get(f"/v1/actions/{action['id']}")["action"]
        if action["status"] == "error":
            raise EmulatorError(f"action {action['command']}: {action['error']['message']}")


def _parsed(raw: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(raw) if raw else {}
    return document
