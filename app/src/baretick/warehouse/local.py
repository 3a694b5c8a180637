"""The embedded engine in this very process, behind the same face as the HTTP client: for the demo and for tests."""

import json
from collections.abc import Mapping

from baretick.warehouse.client import READ_SETTINGS, Row, WarehouseError, parameter_text
from baretick.warehouse.server.engine import Engine, QueryError, Scope

_USER = "local"


class LocalDatabase:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def query(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]:
        names = {name: parameter_text(value) for name, value in (params or {}).items()}
        scope = Scope(settings=READ_SETTINGS, params=names)
        try:
            data = self._engine.select(_USER, scope, sql, "JSONEachRow").data
        except QueryError as e:
            raise WarehouseError(e.code, str(e)) from None
        return [json.loads(line) for line in data.splitlines()]

    def command(self, sql: str, settings: Mapping[str, str] | None = None) -> None:
        try:
            self._engine.select(_USER, Scope(settings=settings or {}), sql, "Null")
        except QueryError as e:
            raise WarehouseError(e.code, str(e)) from None

    def insert(self, head: str, fmt: str, data: bytes, settings: Mapping[str, str] | None = None) -> None:
        try:
            with self._engine.insert(_USER, Scope(settings=settings or {}), head, fmt) as inserter:
                inserter.append(data)
                inserter.finish()
        except QueryError as e:
            raise WarehouseError(e.code, str(e)) from None
