"""`baretick migrate`: apply the numbered SQL files in order, each once; refuse when an applied one was changed.

A file is recorded after it was applied. A kill in between leaves it unrecorded, and every statement is written so
that it can run again (IF NOT EXISTS, OR REPLACE); the next run resumes there.
"""

import hashlib
import importlib.resources
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources.abc import Traversable

from baretick.config import AppConfig
from baretick.warehouse.client import Database, HttpDatabase, WarehouseError, WarehouseUnavailable

_NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")
_LEDGER = "hft_data.schema_migrations"
_CREATE_LEDGER = (
    "CREATE DATABASE IF NOT EXISTS hft_data",
    f"CREATE TABLE IF NOT EXISTS {_LEDGER} (version UInt32, name String, checksum String, elapsed_ms UInt32, "
    "applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = ReplacingMergeTree ORDER BY version",
)
_READ_LEDGER = (
    "SELECT version, name, checksum, toString(applied_at) AS applied_at "
    "FROM hft_data.schema_migrations FINAL ORDER BY version"
)
_WAIT_SECONDS = 60.0


class MigrationError(Exception):
    """The migrations on disk and those applied don't fit; the message names the file and how to mend it."""


@dataclass(frozen=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True)
class Applied:
    version: int
    name: str
    checksum: str
    applied_at: str


def discover(folder: Traversable) -> list[Migration]:
    """The migrations of a folder by number; raise MigrationError for a bad name or a number used twice."""
    found: dict[int, Migration] = {}
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".sql"):
            continue
        m = _NAME.match(file.name)
        if not m:
            raise MigrationError(f"{file.name}: a migration is named XXXX_description.sql (four digits, a-z, 0-9, _)")
        version = int(m.group(1))
        if version in found:
            raise MigrationError(f"{file.name}: number {version:04d} is taken by {found[version].name}")
        found[version] = Migration(version, file.name, file.read_text())
    return [found[v] for v in sorted(found)]


def shipped() -> list[Migration]:
    return discover(importlib.resources.files("baretick.warehouse") / "migrations")


def applied(db: Database) -> list[Applied]:
    for sql in _CREATE_LEDGER:
        db.command(sql)
    rows = db.query(_READ_LEDGER)
    return [Applied(**row) for row in rows]


def pending(migrations: Iterable[Migration], done: Iterable[Applied]) -> list[Migration]:
    """What is still to do; raise MigrationError if the past was changed."""
    by_version = {a.version: a for a in done}
    todo = []
    known = set()
    for m in migrations:
        known.add(m.version)
        past = by_version.get(m.version)
        if past is None:
            todo.append(m)
        elif past.checksum != m.checksum:
            raise MigrationError(
                f"{m.name} was changed after it was applied on {past.applied_at}: applied sha256 {past.checksum}, "
                f"now {m.checksum}. Restore the file and put the change into a new migration."
            )
    unknown = sorted(set(by_version) - known)
    if unknown:
        raise MigrationError(
            f"{by_version[unknown[0]].name} is applied but not part of this version of baretick: "
            "the warehouse is newer than the program; upgrade the program."
        )
    late = [m for m in todo if by_version and m.version < max(by_version)]
    if late:
        raise MigrationError(
            f"{late[0].name} is pending but {max(by_version):04d} is applied already: give it a higher number."
        )
    return todo


def migrate(
    db: Database, migrations: list[Migration], progress: Callable[[str], None] = lambda line: None
) -> list[Migration]:
    """Apply what is pending, in order; return it."""
    todo = pending(migrations, applied(db))
    for i, m in enumerate(todo, 1):
        started = time.monotonic()
        for statement in statements(m.sql):
            try:
                db.command(statement)
            except WarehouseError as e:
                raise MigrationError(f"{m.name}: {e}") from e
        elapsed_ms = round((time.monotonic() - started) * 1000)
        record = {"version": m.version, "name": m.name, "checksum": m.checksum, "elapsed_ms": elapsed_ms}
        db.insert(
            f"INSERT INTO {_LEDGER} (version, name, checksum, elapsed_ms)", "JSONEachRow", json.dumps(record).encode()
        )
        progress(f"[{i}/{len(todo)}] {m.name} ({elapsed_ms} ms)")
    return todo


_PIECE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"|;|[^;]", re.S)


def statements(sql: str) -> list[str]:
    """The statements of a file: split at semicolons outside quotes and comments; empty ones are dropped."""
    out = [""]
    bare = [""]
    for m in _PIECE.finditer(sql):
        piece = m.group()
        if piece == ";":
            out.append("")
            bare.append("")
            continue
        out[-1] += piece
        if not piece.startswith(("--", "/*")):
            bare[-1] += piece
    return [text.strip() for text, code in zip(out, bare, strict=True) if code.strip()]


def connect(cfg: AppConfig, wait_s: float = _WAIT_SECONDS) -> HttpDatabase:
    """The warehouse, once it answers; raise WarehouseUnavailable if it does not within `wait_s`."""
    db = HttpDatabase(cfg.clickhouse.url, cfg.clickhouse.user, cfg.clickhouse.password.get_secret_value())
    deadline = time.monotonic() + wait_s
    while True:
        try:
            db.query("SELECT 1")
            return db
        except WarehouseUnavailable as e:
            if time.monotonic() > deadline:
                raise WarehouseUnavailable(f"no answer within {wait_s:.0f} s: {e}") from e
            time.sleep(0.5)


def _print_status(migrations: list[Migration], done: list[Applied]) -> None:
    when = {a.version: a for a in done}
    for m in migrations:
        past = when.get(m.version)
        state = "pending" if past is None else f"applied {past.applied_at}"
        if past is not None and past.checksum != m.checksum:
            state = f"CHANGED (applied {past.checksum[:12]}, now {m.checksum[:12]})"
        print(f"{m.name:36} {state}")


def main(cfg: AppConfig, *, status: bool = False) -> int:
    logging.basicConfig(level=cfg.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        db = connect(cfg)
        migrations = shipped()
        if status:
            done = applied(db)
            _print_status(migrations, done)
            pending(migrations, done)  # a changed or foreign migration is an error here too
            return 0
        count = len(migrate(db, migrations, print))
        print(f"{len(migrations)} migrations, {count} applied now")
    except (MigrationError, WarehouseError, WarehouseUnavailable) as e:
        print(f"migrate: {e}", file=sys.stderr)
        return 1
    return 0
