"""ClickHouse's HTTP interface over the engine: queries, streaming inserts, sessions, errors with codes, metrics."""

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from aiohttp import ClientPayloadError, web
from multidict import CIMultiDict

from baretick.warehouse.server import coding, metrics, sql
from baretick.warehouse.server.auth import AuthenticationFailed, Users
from baretick.warehouse.server.engine import (
    DEFAULT_SESSION_SECONDS,
    MAX_SESSION_SECONDS,
    Engine,
    Inserter,
    QueryError,
    Scope,
    Written,
)

log = logging.getLogger(__name__)

# Parameters of the interface itself; every other one is a setting, `param_*` are query parameters.
_INTERFACE = frozenset(
    {
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "session_id",
        "session_timeout",
        "session_check",
        "query_id",
        "quota_key",
        "compress",
        "decompress",
        "wait_end_of_query",
        "buffer_size",
        "client_protocol_version",
        "role",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "enable_http_compression",
        "stacktrace",
        "add_http_cors_header",
    }
)
_READ_CHUNK = 1 << 20
_MAX_STATEMENT = 256 << 20
_INSERT_HEAD = 1 << 20
_WORKERS = 16

_CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "Parquet": "application/octet-stream",
    "Native": "application/octet-stream",
    "Arrow": "application/vnd.apache.arrow.file",
    "ArrowStream": "application/vnd.apache.arrow.stream",
}

# As ClickHouse's own exceptionCodeToHTTPStatus: what the client did wrong is 4xx.
_BAD_REQUEST = frozenset({6, 26, 27, 33, 38, 41, 47, 53, 62, 69, 70, 72, 117, 386, 130})
_NOT_FOUND = frozenset({16, 46, 60, 81, 115, 372})
_STATUS = {516: 403, 497: 403, 164: 500, 159: 504, 241: 500, 48: 501, 373: 423, 415: 415, 396: 413}


def http_status(code: int) -> int:
    if code in _BAD_REQUEST:
        return 400
    if code in _NOT_FOUND:
        return 404
    return _STATUS.get(code, 500)


@dataclass(frozen=True)
class _Reply:
    headers: dict[str, str]
    body: bytes = b""


def make_app(engine: Engine, users: Users) -> web.Application:
    handler = _Handler(engine, users)
    app = web.Application(client_max_size=1 << 62)
    app.router.add_get("/ping", handler.alive)
    app.router.add_get("/replicas_status", handler.alive)
    app.router.add_get("/metrics", handler.metrics)
    app.router.add_route("*", "/", handler.query)
    app.on_cleanup.append(handler.close)
    return app


class _Handler:
    def __init__(self, engine: Engine, users: Users) -> None:
        self._engine = engine
        self._users = users
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="query")
        self._counters = metrics.Counters()

    async def close(self, _: web.Application) -> None:
        self._pool.shutdown(wait=True)

    async def _run[**P, T](self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **kwargs))

    async def alive(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def metrics(self, _: web.Request) -> web.Response:
        text = await self._run(metrics.render, self._engine, self._counters)
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def query(self, request: web.Request) -> web.StreamResponse:
        params = dict(request.query)
        headers = {
            "X-ClickHouse-Server-Display-Name": "baretick-embedded",
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Query-Id": params.get("query_id") or str(uuid.uuid4()),
        }
        with self._counters.request() as outcome:
            try:
                user = self._users.authenticate(request.headers, params)
                reply = await self._answer(request, params, user)
            except (ClientPayloadError, ConnectionError) as e:
                outcome.code = 210  # NETWORK_ERROR: the client went away, nobody will read the answer
                log.info("client %s went away in mid-request, nothing of it was written: %s", request.remote, e)
                return web.Response(status=400)
            except Exception as e:
                error = _as_query_error(e)
                outcome.code = error.code
                headers["X-ClickHouse-Exception-Code"] = str(error.code)
                version = "" if "(version " in str(error) else f" (version {self._engine.version})"
                text = f"{error}{version}\n"
                return web.Response(status=http_status(error.code), headers=headers, text=text)
        return web.Response(headers={**headers, **reply.headers}, body=reply.body)

    async def _answer(self, request: web.Request, params: dict[str, str], user: str) -> _Reply:
        for name in ("compress", "decompress"):
            if params.get(name) == "1":
                raise QueryError(
                    48, f"Code: 48. DB::Exception: {name}=1 (native block compression) is not served by the embedded "
                    "engine; use Content-Encoding or Accept-Encoding with lz4, zstd or gzip. (NOT_IMPLEMENTED)"
                )  # fmt: skip
        scope = _scope(params, request.headers, readonly=request.method == "GET")
        decoder = coding.Decoder(request.headers.get("Content-Encoding", ""))
        statement = bytearray(params.get("query", "").encode())
        if statement and request.can_read_body:
            statement += b"\n"
        searching = True
        async for piece in request.content.iter_chunked(_READ_CHUNK):
            statement += await self._decode(decoder, piece)
            if len(statement) > _MAX_STATEMENT:
                raise QueryError(
                    396, f"Code: 396. DB::Exception: statement is longer than {_MAX_STATEMENT} bytes. (TOO_MANY_BYTES)"
                )
            if searching:
                insert = sql.find_insert(bytes(statement[:_INSERT_HEAD]), whole=False)
                if insert:
                    return await self._insert(request, user, scope, insert, statement, decoder)
                searching = sql.may_become_insert(bytes(statement[:64])) and len(statement) < _INSERT_HEAD
        decoder.finish()
        text = bytes(statement)
        insert = sql.find_insert(text[:_INSERT_HEAD], whole=len(text) <= _INSERT_HEAD)
        if insert:
            return await self._insert(request, user, scope, insert, statement, None)
        return await self._select(request, params, user, scope, text)

    async def _decode(self, decoder: coding.Decoder, piece: bytes) -> bytes:
        return await self._run(decoder.feed, piece) if len(piece) > 1 << 16 else decoder.feed(piece)

    async def _select(
        self, request: web.Request, params: Mapping[str, str], user: str, scope: Scope, text: bytes
    ) -> _Reply:
        if not text.strip():
            return _Reply({"Content-Type": "text/plain; charset=utf-8"}, b"Ok.\n")
        if sql.writes_server_files(text):
            raise QueryError(
                48, "Code: 48. DB::Exception: INTO OUTFILE and FROM INFILE belong to clients, not to the HTTP "
                "interface. (NOT_IMPLEMENTED)"
            )  # fmt: skip
        default = params.get("default_format") or request.headers.get("X-ClickHouse-Format") or "TabSeparated"
        result = await self._run(self._engine.select, user, scope, text.decode(), default)
        fmt = sql.output_format(text) or default
        kind = (
            "application/json; charset=UTF-8" if "JSON" in fmt else _CONTENT_TYPES.get(fmt, "text/plain; charset=UTF-8")
        )
        headers = {
            "X-ClickHouse-Summary": _summary(
                read_rows=result.rows_read, read_bytes=result.bytes_read, elapsed_s=result.elapsed_s
            ),
            "X-ClickHouse-Format": fmt,
            "Content-Type": kind,
        }
        body = result.data
        if params.get("enable_http_compression") == "1" and "Accept-Encoding" in request.headers:
            packed, body = await self._run(coding.encode, body, request.headers["Accept-Encoding"])
            if packed:
                headers["Content-Encoding"] = packed
        return _Reply(headers, body)

    async def _insert(
        self,
        request: web.Request,
        user: str,
        scope: Scope,
        insert: sql.Insert,
        body: bytearray,
        decoder: coding.Decoder | None,
    ) -> _Reply:
        """Feed what has come and what still comes; `decoder` is None when the body has ended."""
        with ExitStack() as stack:
            enter = stack.enter_context
            inserter: Inserter = await self._run(enter, self._engine.insert(user, scope, insert.head, insert.format))
            if len(body) > insert.data_at:
                await self._run(inserter.append, bytes(body[insert.data_at :]))
            if decoder is not None:
                async for piece in request.content.iter_chunked(_READ_CHUNK):
                    data = await self._decode(decoder, piece)
                    if data:
                        await self._run(inserter.append, data)
                decoder.finish()
            written = await self._run(inserter.finish)
        self._counters.written(written.rows, written.bytes)
        return _Reply({"X-ClickHouse-Summary": _summary(written)})


def _as_query_error(e: Exception) -> QueryError:
    if isinstance(e, AuthenticationFailed):
        return QueryError(516, str(e))
    if isinstance(e, coding.UnknownCoding):
        return QueryError(415, f"Code: 415. DB::Exception: {e} (UNKNOWN_COMPRESSION_METHOD)")
    if isinstance(e, UnicodeDecodeError):
        return QueryError(62, f"Code: 62. DB::Exception: the statement is not UTF-8: {e} (SYNTAX_ERROR)")
    return QueryError.of(e)


def _scope(params: Mapping[str, str], headers: CIMultiDict[str] | Mapping[str, str], *, readonly: bool) -> Scope:
    try:
        seconds = float(params.get("session_timeout", DEFAULT_SESSION_SECONDS))
    except ValueError:
        raise QueryError(
            72, "Code: 72. DB::Exception: session_timeout is not a number. (CANNOT_PARSE_NUMBER)"
        ) from None
    return Scope(
        database=params.get("database") or headers.get("X-ClickHouse-Database"),
        settings={k: v for k, v in params.items() if k not in _INTERFACE and not k.startswith("param_")},
        params={k.removeprefix("param_"): v for k, v in params.items() if k.startswith("param_")},
        session_id=params.get("session_id") or None,
        session_seconds=min(seconds, MAX_SESSION_SECONDS),
        session_check=params.get("session_check") == "1",
        readonly=readonly,
    )


def _summary(written: Written | None = None, *, read_rows: int = 0, read_bytes: int = 0, elapsed_s: float = 0.0) -> str:
    elapsed = written.elapsed_s if written else elapsed_s
    return json.dumps(
        {
            "read_rows": str(read_rows),
            "read_bytes": str(read_bytes),
            "written_rows": str(written.rows if written else 0),
            "written_bytes": str(written.bytes if written else 0),
            "total_rows_to_read": "0",
            "result_rows": str(written.rows if written else 0),
            "result_bytes": str(written.bytes if written else 0),
            "elapsed_ns": str(int(elapsed * 1e9)),
        }
    )
