"""Prometheus metrics of the server, named as ClickHouse's own endpoint names them, and rows by table."""

import re
import threading
import time
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from baretick.warehouse.server.engine import Engine, Scope

_SOURCES = (
    ("ClickHouseProfileEvents_", "counter", "SELECT event, toString(value) FROM system.events"),
    ("ClickHouseMetrics_", "gauge", "SELECT metric, toString(value) FROM system.metrics"),
)
_TABLES = (
    "SELECT database, table, toString(sum(rows)), toString(sum(bytes_on_disk)), toString(count()) FROM system.parts "
    "WHERE active AND database NOT IN ('system') GROUP BY database, table ORDER BY database, table"
)
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_]")


@dataclass
class Outcome:
    code: int = 0


class Counters:
    """What passed through HTTP, by outcome."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._requests: Tally[int] = Tally()
        self._seconds = 0.0
        self._rows = 0
        self._bytes = 0
        self._running = 0

    @contextmanager
    def request(self) -> Iterator[Outcome]:
        outcome = Outcome()
        started = time.monotonic()
        with self._guard:
            self._running += 1
        try:
            yield outcome
        finally:
            with self._guard:
                self._running -= 1
                self._requests[outcome.code] += 1
                self._seconds += time.monotonic() - started

    def written(self, rows: int, size: int) -> None:
        with self._guard:
            self._rows += rows
            self._bytes += size

    def lines(self) -> Iterator[str]:
        with self._guard:
            requests = dict(self._requests)
            values = (self._seconds, self._rows, self._bytes, self._running)
        yield "# TYPE baretick_warehouse_requests_total counter"
        for code, count in sorted(requests.items()):
            yield f'baretick_warehouse_requests_total{{code="{code}"}} {count}'
        names = (
            ("baretick_warehouse_request_seconds_total", "counter"),
            ("baretick_warehouse_written_rows_total", "counter"),
            ("baretick_warehouse_written_bytes_total", "counter"),
            ("baretick_warehouse_requests_running", "gauge"),
        )
        for (name, kind), value in zip(names, values, strict=True):
            yield f"# TYPE {name} {kind}"
            yield f"{name} {value}"


def render(engine: Engine, counters: Counters) -> str:
    lines = list(counters.lines())
    lines.append("# TYPE ClickHouse_Info gauge")
    lines.append(f'ClickHouse_Info{{version="{engine.version}",flavor="embedded"}} 1')
    for prefix, kind, query in _SOURCES:
        for name, value in _rows(engine, query):
            metric = prefix + _NOT_A_NAME.sub("_", name)
            lines.append(f"# TYPE {metric} {kind}")
            lines.append(f"{metric} {value}")
    tables = list(_rows(engine, _TABLES))
    for column, metric in ((2, "rows"), (3, "bytes"), (4, "parts")):
        lines.append(f"# TYPE baretick_warehouse_table_{metric} gauge")
        for row in tables:
            lines.append(f'baretick_warehouse_table_{metric}{{database="{row[0]}",table="{row[1]}"}} {row[column]}')
    return "\n".join(lines) + "\n"


def _rows(engine: Engine, query: str) -> Iterator[list[str]]:
    text = engine.select("metrics", Scope(), query, "TSV").data.decode()
    for line in text.splitlines():
        yield line.split("\t")
