"""Migrations: in order, once each, resumed after a kill at any point, refused when the past was changed."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baretick.warehouse import migrate
from baretick.warehouse.client import Row
from baretick.warehouse.migrate import Applied, Migration, MigrationError, discover, pending, shipped, statements


class Killed(Exception):
    """The process ended here."""


class Ledger:
    """Remembers what was run; dies at the n-th call, before or after it took effect."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.records: dict[int, Row] = {}
        self.fuse: int | None = None
        self.after = False

    def _burn(self) -> bool:
        if self.fuse is None:
            return False
        self.fuse -= 1
        if self.fuse == 0 and not self.after:
            raise Killed
        return self.fuse == 0

    def command(self, sql: str, settings: Mapping[str, str] | None = None) -> None:
        last = self._burn()
        if "schema_migrations" not in sql and "DATABASE" not in sql:
            self.ran.append(sql)
        if last:
            raise Killed

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        return [self.records[v] for v in sorted(self.records)]

    def insert(self, head: str, fmt: str, data: bytes, settings: Mapping[str, str] | None = None) -> None:
        last = self._burn()
        record = json.loads(data)
        assert record["version"] not in self.records
        del record["elapsed_ms"]
        self.records[record["version"]] = {**record, "applied_at": "2026-01-01 00:00:00.000"}
        if last:
            raise Killed


FILES = [Migration(n, f"{n:04d}_step.sql", f"CREATE TABLE IF NOT EXISTS t{n} (a Int8)") for n in range(1, 6)]


def test_each_is_applied_once_and_in_order() -> None:
    db = Ledger()
    said: list[str] = []
    assert migrate.migrate(db, FILES[:3], said.append) == FILES[:3]
    assert migrate.migrate(db, FILES, said.append) == FILES[3:]
    assert migrate.migrate(db, FILES) == []
    assert db.ran == [m.sql for m in FILES]
    assert said[0].startswith("[1/3] 0001_step.sql") and len(said) == 5


@settings(deadline=None)
@given(st.integers(1, 12), st.booleans())
def test_a_kill_at_any_point_is_resumed(fuse: int, after: bool) -> None:
    db = Ledger()
    db.fuse, db.after = fuse, after
    with pytest.raises(Killed):
        migrate.migrate(db, FILES)
    db.fuse = None
    migrate.migrate(db, FILES)
    assert sorted(db.records) == [1, 2, 3, 4, 5]
    assert list(dict.fromkeys(db.ran)) == [m.sql for m in FILES]
    assert len(db.ran) <= len(FILES) + 1, "only the statement in flight may have run twice"


def test_a_changed_file_is_refused_with_its_name_and_both_checksums() -> None:
    db = Ledger()
    migrate.migrate(db, FILES)
    changed = Migration(2, "0002_step.sql", FILES[1].sql + " -- and more")
    with pytest.raises(MigrationError) as e:
        migrate.migrate(db, [FILES[0], changed, *FILES[2:]])
    for part in ("0002_step.sql", FILES[1].checksum, changed.checksum):
        assert part in str(e.value)


def test_a_warehouse_newer_than_the_program_is_refused() -> None:
    done = [Applied(m.version, m.name, m.checksum, "") for m in FILES]
    with pytest.raises(MigrationError, match=r"0005_step\.sql is applied but not part of this version"):
        pending(FILES[:4], done)


def test_a_number_below_what_is_applied_is_refused() -> None:
    done = [Applied(m.version, m.name, m.checksum, "") for m in FILES if m.version != 3]
    with pytest.raises(MigrationError, match=r"0003_step\.sql is pending but 0005 is applied"):
        pending(FILES, done)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["0001_a.sql", "1_b.sql"], "1_b.sql: a migration is named XXXX_description.sql"),
        (["0001_A.sql"], "0001_A.sql: a migration is named"),
        (["0001_a.sql", "0001_b.sql"], "0001_b.sql: number 0001 is taken by 0001_a.sql"),
    ],
)
def test_bad_names_are_refused(tmp_path: Path, names: list[str], says: str) -> None:
    for n in names:
        (tmp_path / n).write_text("SELECT 1")
    with pytest.raises(MigrationError, match=re.escape(says)):
        discover(tmp_path)


def test_statements_are_split_outside_quotes_and_comments() -> None:
    sql = "-- a; comment\nSELECT 'x;y', `a;b`, \"c;d\"; /* ; */ SELECT 'it\\'s; ''so''';\n-- the end;\n"
    assert statements(sql) == [
        "-- a; comment\nSELECT 'x;y', `a;b`, \"c;d\"",
        "/* ; */ SELECT 'it\\'s; ''so'''",
    ]


@settings(deadline=None)
@given(st.lists(st.text(alphabet="ab '`", max_size=10).map(lambda s: "SELECT " + repr(s)), min_size=1, max_size=5))
def test_joined_statements_come_apart_again(parts: list[str]) -> None:
    assert statements(";\n".join(parts)) == parts


@pytest.mark.parametrize("m", shipped(), ids=lambda m: m.name)
def test_a_shipped_migration_is_one_statement_that_can_run_twice(m: Migration) -> None:
    [statement] = statements(m.sql)
    code = re.sub(r"--[^\n]*", "", statement)
    assert re.search(r"IF (NOT )?EXISTS|OR REPLACE", code), "a kill between applying and recording runs it again"
    assert m.sql.startswith("--"), "says what it is for"


def test_shipped_migrations_are_numbered_without_holes() -> None:
    assert [m.version for m in shipped()] == list(range(1, len(shipped()) + 1))
