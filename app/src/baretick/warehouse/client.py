"""A small, synchronous ClickHouse client over HTTP (standard library only), safe for use from several threads."""

import base64
import http.client
import json
import threading
import urllib.parse
from collections.abc import Mapping
from typing import Any, Protocol

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 300.0

Row = dict[str, Any]

# Numbers as JSON numbers, but decimals as strings: no binary float may touch money on the way out.
READ_SETTINGS = {
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_quote_decimals": "1",
    "output_format_json_validate_utf8": "1",
}


class WarehouseError(Exception):
    """ClickHouse said no; `code` is its exception code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class WarehouseUnavailable(Exception):
    """No answer: nothing listens, or it went away in mid-request, so that what was sent may or may not have landed."""


class Database(Protocol):
    """What the warehouse's own code needs of ClickHouse, over HTTP or in process."""

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        """The rows of a SELECT."""

    def command(self, sql: str, settings: Mapping[str, str] | None = None) -> None:
        """Run a statement that returns nothing of interest."""

    def insert(self, head: str, fmt: str, data: bytes, settings: Mapping[str, str] | None = None) -> None:
        """`head` is an INSERT statement without its FORMAT clause."""


class HttpDatabase:
    """One persistent connection a thread; `url` is http(s)://host:port."""

    def __init__(self, url: str, user: str, password: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"clickhouse.url: {url!r} is not http(s)://host:port")
        self.url = url
        self._https = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (8443 if self._https else 8123)
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}
        self._local = threading.local()

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        names = {f"param_{name}": parameter_text(value) for name, value in (params or {}).items()}
        body = self._post({**READ_SETTINGS, **names, "default_format": "JSONEachRow"}, sql.encode())
        return [json.loads(line) for line in body.splitlines()]

    def command(self, sql: str, settings: Mapping[str, str] | None = None) -> None:
        self._post(dict(settings or {}), sql.encode())

    def insert(self, head: str, fmt: str, data: bytes, settings: Mapping[str, str] | None = None) -> None:
        self._post({"query": f"{head} FORMAT {fmt}", **(settings or {})}, data)

    def ping(self) -> bool:
        try:
            self._post({}, b"SELECT 1")
        except WarehouseUnavailable:
            return False
        return True

    def close(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _post(self, params: Mapping[str, str], body: bytes) -> bytes:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
            connection = self._local.connection = kind(self._host, self._port, timeout=CONNECT_SECONDS)
        try:
            if connection.sock is None:
                connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(ANSWER_SECONDS)
            connection.request("POST", "/?" + urllib.parse.urlencode(params), body, self._headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise WarehouseUnavailable(f"{self.url}: {e or type(e).__name__}") from e
        if response.status != 200:
            code = response.headers.get("X-ClickHouse-Exception-Code", "")
            raise WarehouseError(int(code) if code.isdigit() else 0, data.decode("utf-8", "replace").strip())
        return data


def parameter_text(value: object) -> str:
    """A query parameter's value as ClickHouse reads it: escaped as in TabSeparated, lists as array literals."""
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_literal(item) for item in value) + "]"
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _literal(value: object) -> str:
    if isinstance(value, (int, float)):
        return str(value)
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
