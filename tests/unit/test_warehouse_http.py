"""The parts of the HTTP front end that need no engine: SQL heads, content codings, credentials."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baretick.warehouse.server import coding, sql
from baretick.warehouse.server.auth import AuthenticationFailed, Users
from baretick.warehouse.server.http import http_status


@pytest.mark.parametrize(
    ("statement", "head", "fmt", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", "INSERT INTO t", "CSV", b"1,2\n"),
        (b"insert into t (a, b) format Native\r\n\x00\xff", "insert into t (a, b)", "Native", b"\x00\xff"),
        (b"/* FORMAT x */ INSERT INTO `FORMAT` FORMAT TSV\nx", "/* FORMAT x */ INSERT INTO `FORMAT`", "TSV", b"x"),
        (b"-- why\nINSERT INTO t SETTINGS a='FORMAT b' FORMAT JSONEachRow {}", None, "JSONEachRow", b"{}"),
        (b"INSERT INTO FUNCTION f('x FORMAT y') (a) FORMAT RowBinary\n\n", None, "RowBinary", b"\n"),
    ],
)
def test_an_inserts_data_is_found(statement: bytes, head: str | None, fmt: str, data: bytes) -> None:
    found = sql.find_insert(statement, whole=True)
    assert found is not None
    assert found.format == fmt
    assert statement[found.data_at :] == data
    if head is not None:
        assert found.head == head


@pytest.mark.parametrize(
    "statement",
    [
        b"INSERT INTO t VALUES (1, 'FORMAT CSV')",
        b"INSERT INTO t FORMAT Values (1)",
        b"INSERT INTO t SELECT * FROM u FORMAT CSV",
        b"SELECT 'INSERT INTO t FORMAT CSV'",
        b"",
    ],
)
def test_other_statements_go_to_the_engine_whole(statement: bytes) -> None:
    assert sql.find_insert(statement, whole=True) is None


def test_a_cut_format_name_waits_for_the_rest() -> None:
    assert sql.find_insert(b"INSERT INTO t FORMAT JSON", whole=False) is None
    found = sql.find_insert(b"INSERT INTO t FORMAT JSON", whole=True)
    assert found is not None and found.format == "JSON"


@settings(deadline=None)
@given(st.integers(0, 30))
def test_a_body_in_pieces_is_recognised_like_the_whole(cut: int) -> None:
    body = b"INSERT INTO t (a) FORMAT CSV\n1\n2\n"
    early = sql.find_insert(body[:cut], whole=False)
    assert early is None or early == sql.find_insert(body, whole=True)
    assert sql.may_become_insert(body[:cut])
    assert not sql.may_become_insert(b"SELECT 1")


def test_the_format_of_a_query() -> None:
    assert sql.output_format(b"SELECT 'FORMAT CSV' FORMAT JSON") == "JSON"
    assert sql.output_format(b"SELECT * FROM (SELECT 1 AS format)") is None
    assert sql.output_format(b"SELECT 1") is None


def test_client_side_files_are_recognised() -> None:
    assert sql.writes_server_files(b"SELECT 1 INTO\n OUTFILE 'x'")
    assert sql.writes_server_files(b"INSERT INTO t FROM INFILE 'x' FORMAT CSV")
    assert not sql.writes_server_files(b"SELECT 'INTO OUTFILE'")


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=2000), min_size=1, max_size=4),
    st.integers(1, 100),
    st.sampled_from(["lz4", "zstd", "gzip"]),
)
def test_concatenated_frames_in_any_pieces_are_undone(parts: list[bytes], step: int, name: str) -> None:
    packed = b""
    for part in parts:
        used, data = coding.encode(part, name)
        assert used == name
        packed += data
    decoder = coding.Decoder(name)
    out = b"".join(decoder.feed(packed[i : i + step]) for i in range(0, len(packed), step))
    decoder.finish()
    assert out == b"".join(parts)


@pytest.mark.parametrize("name", ["lz4", "zstd", "gzip"])
def test_a_cut_frame_is_an_error_not_a_short_body(name: str) -> None:
    _, packed = coding.encode(b"x" * 10_000, name)
    decoder = coding.Decoder(name)
    decoder.feed(packed[:-3])
    with pytest.raises(EOFError):
        decoder.finish()


def test_an_unknown_coding_is_named() -> None:
    with pytest.raises(coding.UnknownCoding, match="'br'"):
        coding.Decoder("br")
    assert coding.encode(b"x", "br, *;q=0") == (None, b"x")


USERS = Users({"baretick": "secret", "reader": "other"})


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        ({"X-ClickHouse-User": "baretick", "X-ClickHouse-Key": "secret"}, {}),
        ({"Authorization": "Basic " + base64.b64encode(b"baretick:secret").decode()}, {}),
        ({}, {"user": "baretick", "password": "secret"}),
    ],
)
def test_every_way_to_say_who_one_is(headers: dict[str, str], params: dict[str, str]) -> None:
    assert USERS.authenticate(headers, params) == "baretick"


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        ({}, {}),
        ({}, {"user": "default"}),
        ({}, {"user": "baretick", "password": "other"}),
        ({"X-ClickHouse-User": "baretick"}, {}),
        ({"Authorization": "Basic %%%"}, {}),
        ({"X-ClickHouse-User": "nobody", "X-ClickHouse-Key": "\0"}, {}),
    ],
)
def test_nobody_else_gets_in(headers: dict[str, str], params: dict[str, str]) -> None:
    with pytest.raises(AuthenticationFailed, match=r"Code: 516\."):
        USERS.authenticate(headers, params)


def test_statuses_are_clickhouses() -> None:
    assert [http_status(c) for c in (60, 62, 516, 241, 1002)] == [404, 400, 403, 500, 500]
