"""The embedded engine: one per process and data path, connections for requests, sessions with their own state."""

import fcntl
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chdb

_SETTING_NAME = re.compile(r"^[A-Za-z_]\w*$")
_ERROR = re.compile(r"Code: (\d+)\.?.*", re.S)

DEFAULT_SESSION_SECONDS = 60.0
MAX_SESSION_SECONDS = 3600.0


class DataPathLocked(Exception):
    """Another process has the data path open."""


class QueryError(Exception):
    """An exception of the engine: its ClickHouse code and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @classmethod
    def of(cls, error: BaseException) -> "QueryError":
        if isinstance(error, QueryError):
            return error
        found = _ERROR.search(str(error))
        if found:
            return cls(int(found.group(1)), found.group(0).rstrip())
        return cls(1002, f"Code: 1002. DB::Exception: {error} (UNKNOWN_EXCEPTION)")


@dataclass(frozen=True)
class Scope:
    """What a request brings beside its statement."""

    database: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    session_id: str | None = None
    session_seconds: float = DEFAULT_SESSION_SECONDS
    session_check: bool = False
    readonly: bool = False


@dataclass(frozen=True)
class Result:
    data: bytes
    rows_read: int
    bytes_read: int
    elapsed_s: float


@dataclass(frozen=True)
class Written:
    rows: int
    bytes: int
    elapsed_s: float


@dataclass
class _Session:
    connection: Any
    expires: float
    busy: bool = False


class Engine:
    """chdb on one data path. Everything here may be called from any thread."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._lock_file = _lock(path)
        self._path = str(path)
        # While this connection is open the engine stays loaded; requests open and close their own.
        self._root = chdb.connect(self._path)
        self._sessions: dict[tuple[str, str], _Session] = {}
        self._guard = threading.Lock()
        self.version = self._scalar("SELECT version()")
        self.timezone = self._scalar("SELECT timezone()")

    def _scalar(self, sql: str) -> str:
        return str(self._root.query(sql, "TSV").bytes().decode()).strip()

    def close(self) -> None:
        with self._guard:
            sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            session.connection.close()
        self._root.close()
        self._lock_file.close()

    def select(self, user: str, scope: Scope, sql: str, fmt: str) -> Result:
        """Run any statement; the whole result in `fmt` unless the statement names its own."""
        with self._connection(user, scope) as connection:
            try:
                r = connection.query(sql, fmt, params=dict(scope.params))
            except Exception as e:
                raise QueryError.of(e) from None
            return Result(r.bytes() or b"", r.rows_read(), r.bytes_read(), r.elapsed())

    @contextmanager
    def insert(self, user: str, scope: Scope, head: str, fmt: str) -> Iterator["Inserter"]:
        """A streaming INSERT; without finish() nothing more is written."""
        with self._connection(user, scope) as connection:
            try:
                raw = connection.send_insert(head, fmt)
            except Exception as e:
                raise QueryError.of(e) from None
            inserter = Inserter(raw)
            try:
                yield inserter
            finally:
                inserter.cancel()

    @contextmanager
    def _connection(self, user: str, scope: Scope) -> Iterator[Any]:
        if scope.session_id is None:
            connection = chdb.connect(self._path)
            try:
                self._prepare(connection, scope)
                yield connection
            finally:
                connection.close()
            return
        session = self._take(user, scope)
        try:
            self._prepare(session.connection, scope)
            yield session.connection
        finally:
            with self._guard:
                session.busy = False
                session.expires = time.monotonic() + scope.session_seconds

    def _take(self, user: str, scope: Scope) -> _Session:
        key = (user, scope.session_id or "")
        with self._guard:
            self._expire()
            session = self._sessions.get(key)
            if session is None:
                if scope.session_check:
                    raise QueryError(372, f"Code: 372. DB::Exception: Session {key[1]} not found. (SESSION_NOT_FOUND)")
                session = self._sessions[key] = _Session(chdb.connect(self._path), 0.0)
            elif session.busy:
                raise QueryError(
                    373,
                    f"Code: 373. DB::Exception: Session {key[1]} is locked by a concurrent client. (SESSION_IS_LOCKED)",
                )
            session.busy = True
            return session

    def _expire(self) -> None:
        now = time.monotonic()
        for key in [k for k, s in self._sessions.items() if not s.busy and s.expires < now]:
            self._sessions.pop(key).connection.close()

    @staticmethod
    def _prepare(connection: Any, scope: Scope) -> None:
        statements = []
        if scope.database:
            statements.append("USE " + _quote(scope.database, "`"))
        bad = [name for name in scope.settings if not _SETTING_NAME.match(name)]
        if bad:
            raise QueryError(115, f"Code: 115. DB::Exception: Setting {bad[0]!r} is not a name. (UNKNOWN_SETTING)")
        if scope.settings:
            values = (f"{name} = {_quote(value, chr(39))}" for name, value in scope.settings.items())
            statements.append("SET " + ", ".join(values))
        if scope.readonly and scope.session_id is None:
            statements.append("SET readonly = 2")
        try:
            for sql in statements:
                connection.query(sql)
        except Exception as e:
            raise QueryError.of(e) from None


class Inserter:
    """The open end of a streaming INSERT."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._open = True

    def append(self, data: bytes) -> None:
        try:
            self._raw.append(data)
        except Exception as e:
            raise QueryError.of(e) from None

    def finish(self) -> Written:
        self._open = False
        try:
            r = self._raw.finish()
        except Exception as e:
            raise QueryError.of(e) from None
        return Written(r.rows_written, r.bytes_written, r.elapsed)

    def cancel(self) -> None:
        if self._open:
            self._open = False
            self._raw.cancel()


def _quote(text: str, mark: str) -> str:
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


def _lock(path: Path) -> Any:
    """One process a data path: two engines on the same files would destroy them."""
    file = (path / "baretick.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise DataPathLocked(
            f"{path} is open in another process (pid {holder}): stop that one, or set warehouse_server.path"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
