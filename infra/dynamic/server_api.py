"""The three calls of Hetzner's cloud API that keeping a server alive takes."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

# Worth another try: the limit of requests, a lock held by another action, a conflict, the server's own trouble.
RETRIED = {409, 423, 429, 500, 502, 503, 504}
ATTEMPTS = 6
ACTION_SECONDS = 120.0


class ApiFault(Exception):
    """The API could not be asked or refused; the message says what was asked and what came back."""


class ServerApi:
    def __init__(self, endpoint: str, token: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._endpoint = endpoint
        self._token = token
        self._sleep = sleep

    def status(self, server_id: int) -> str | None:
        """What Hetzner says of the server: running, off, starting, ...; None where there is none of that id."""
        found = self._call("GET", f"/servers/{server_id}")
        return str(found["server"]["status"]) if found else None

    def power_on(self, server_id: int) -> None:
        """Switch the server on and wait until Hetzner has done so."""
        begun = self._call("POST", f"/servers/{server_id}/actions/poweron")
        if begun is None:
            raise ApiFault(f"server {server_id} does not exist")
        action = begun["action"]
        deadline = time.monotonic() + ACTION_SECONDS
        while action["status"] == "running":
            if time.monotonic() > deadline:
                raise ApiFault(f"powering on server {server_id} did not end within {ACTION_SECONDS:.0f} s")
            self._sleep(0.2)
            found = self._call("GET", f"/actions/{action['id']}")
            if found is None:
                raise ApiFault(f"the action that powers on server {server_id} is gone")
            action = found["action"]
        if action["status"] == "error":
            raise ApiFault(f"server {server_id} could not be powered on: {action['error']['message']}")

    def _call(self, method: str, path: str) -> dict[str, Any] | None:
        request = urllib.request.Request(  # noqa: S310 - the endpoint is http(s) by the site's own configuration
            self._endpoint + path,
            method=method,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            data=b"{}" if method == "POST" else None,
        )
        for attempt in range(ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                    body: dict[str, Any] = json.load(answer)
                    return body
            except urllib.error.HTTPError as e:
                if e.code == 404:
                    return None
                if e.code not in RETRIED or attempt == ATTEMPTS - 1:
                    raise ApiFault(f"{method} {self._endpoint}{path}: {e.code} {_message(e)}") from e
            except urllib.error.URLError as e:
                raise ApiFault(f"{method} {self._endpoint}{path}: {e.reason}; is the API up?") from e
            self._sleep(0.25 * 2**attempt)
        raise AssertionError("unreachable")


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
