"""Just enough SQL reading for an HTTP front end: where an INSERT's data begins, which FORMAT a query asks for.

The engine parses the statements themselves; here only words outside quotes and comments are looked at.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A word, a quoted thing, a comment, or any other single byte. Unterminated quotes and comments don't match
# as such, which is how the reader of a partial body knows that it must wait for more.
_TOKEN = re.compile(
    rb"""(?P<comment>--[^\n]*(?:\n|$)|\#!?\ [^\n]*(?:\n|$)|/\*.*?\*/)
       |(?P<quoted>'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*")
       |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
       |(?P<number>[0-9][A-Za-z0-9_.]*)
       |(?P<space>\s+)
       |(?P<other>.)""",
    re.S | re.X,
)
_DATA_FOLLOWS = re.compile(rb"[ \t]*;?[ \t]*(?:\r?\n|$)?")


@dataclass(frozen=True)
class Insert:
    """An INSERT whose data follows in a format of its own: `head` is the statement, `data_at` where data begins."""

    head: str
    format: str
    data_at: int


def _words(sql: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """(word in upper case, start, end, depth of parentheses), up to an open quote or an INSERT's values."""
    depth = 0
    insert: bool | None = None
    for m in _TOKEN.finditer(sql):
        kind = m.lastgroup
        if kind == "word":
            word = m.group().upper()
            if insert is None:
                insert = word == b"INSERT"
            yield word, m.start(), m.end(), depth
            if insert and depth == 0 and word == b"VALUES":
                return
        elif kind == "other":
            char = m.group()
            if char in b"'`\"":
                return
            depth += (char == b"(") - (char == b")")


def find_insert(sql: bytes, whole: bool) -> Insert | None:
    """The INSERT ... FORMAT at the start of `sql`, if it is one with data in a format other than VALUES.

    `whole` says that nothing more will come; until then a word at the very end may still be cut.
    """
    first = True
    format_next = False
    format_at = 0
    for word, start, end, depth in _words(sql):
        if first:
            if word != b"INSERT":
                return None
            first = False
        elif format_next:
            if end == len(sql) and not whole:
                return None
            if word == b"VALUES":
                return None
            data = _DATA_FOLLOWS.match(sql, end)
            head = sql[:format_at].decode("utf-8", "replace").strip()
            return Insert(head, sql[start:end].decode(), data.end() if data else end)
        elif depth == 0 and word in (b"SELECT", b"VALUES", b"WITH", b"WATCH"):
            return None
        elif depth == 0 and word == b"FORMAT":
            format_next, format_at = True, start
    return None


def may_become_insert(sql: bytes) -> bool:
    """Whether a partial body can still turn out to be an INSERT with data: False ends the search."""
    for word, _, end, _ in _words(sql):
        return word == b"INSERT" or (end == len(sql) and b"INSERT".startswith(word))
    return True


def output_format(sql: bytes) -> str | None:
    """The FORMAT clause of a query, None when it has none."""
    found: bytes | None = None
    format_next = False
    for word, start, end, depth in _words(sql):
        if format_next:
            found, format_next = sql[start:end], False
        elif depth == 0 and word == b"FORMAT":
            format_next = True
    return found.decode() if found else None


def writes_server_files(sql: bytes) -> bool:
    """INTO OUTFILE and FROM INFILE are a client's clauses; in a library they would touch the server's disk."""
    previous = b""
    for word, _, _, _ in _words(sql):
        if (previous, word) in ((b"INTO", b"OUTFILE"), (b"FROM", b"INFILE")):
            return True
        previous = word
    return False
